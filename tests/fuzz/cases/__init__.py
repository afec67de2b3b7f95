"""Inputs that once went wrong, one file each: `TARGET/NAME.hex`, lines of hex digits; `#` begins a remark.

`python -m tests.fuzz.cases FILE` prints a crasher's bytes in that form.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
LINE_BYTES = 48


def cases() -> Iterator[tuple[str, str, bytes]]:
    """(target, name, bytes)."""
    for path in sorted(HERE.glob("*/*.hex")):
        yield path.parent.name, path.stem, parse(path.read_text())


def parse(text: str) -> bytes:
    return b"".join(bytes.fromhex(line.split("#")[0]) for line in text.splitlines())


def spell(data: bytes) -> str:
    return "\n".join(data[at : at + LINE_BYTES].hex() for at in range(0, len(data), LINE_BYTES)) + "\n"
