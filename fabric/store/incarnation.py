"""Which life of the group a voter's directory belongs to. It grows when voters are made anew after a disaster
(`new_life.py`) and never otherwise; voters of an earlier life are heard no more. Where it says nothing the
group lives its first."""

from __future__ import annotations

from pathlib import Path

from fabric.store.errors import LogCorruptError
from fabric.store.files import write_private

INCARNATION_FILE = "incarnation"
FIRST_INCARNATION = 1
INCARNATION_MAX = (1 << 63) - 1  # SPEC.md, section 8


def read_incarnation(directory: Path) -> int:
    """Raises LogCorruptError, OSError."""
    path = directory / INCARNATION_FILE
    try:
        number = int(path.read_text("ascii"))
    except FileNotFoundError:
        return FIRST_INCARNATION
    except ValueError as error:
        raise LogCorruptError(f"{path} is damaged") from error
    if not FIRST_INCARNATION <= number <= INCARNATION_MAX:
        raise LogCorruptError(f"{path} is damaged")
    return number


def write_incarnation(directory: Path, incarnation: int) -> None:
    """Before the voter has a name: a named one has its incarnation. Durable when this returns. Raises
    OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(directory / INCARNATION_FILE, str(incarnation).encode())
