"""The methods of dataclasses, compiled once and not at each start.

`dataclasses` writes the source of `__init__`, `__eq__` and the like and has it compiled, some six texts a
class. An agent makes 280 classes before it can be given servers, and compiling their methods is half of the
processor time that its imports take. Python keeps what it compiles of files; this keeps beside that what it
compiles of such texts. A text is found by itself, whole, so what is kept cannot be out of date.

It is as trusted as Python's own compiled files, for it lies in the same folder. Where that cannot be written,
or Python was told to write no compiled files, nothing is kept.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import dataclasses
import marshal
import os
import sys
import zlib
from collections.abc import Mapping
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import Any

KEPT_MAX = 10_000  # texts, those of former versions among them; an agent has 2,300, which are 2.7 MB
_HEAD_BYTES = len(MAGIC_NUMBER) + 4


def keep_compiled() -> None:
    """From now on, in this process; what is new is written when it ends, killed processes excepted."""
    if "exec" in vars(dataclasses):
        return
    kept = Kept(_path())
    vars(dataclasses)["exec"] = kept.run  # found there before the built-in one of that name
    if not sys.dont_write_bytecode:
        atexit.register(kept.write)


def is_none_kept() -> bool:
    """Though it could be: nothing has been, on this machine."""
    return not sys.dont_write_bytecode and not _path().exists()


def _path() -> Path:
    return Path(cache_from_source(__file__)).with_suffix(".methods")


class Kept:
    """`run` is `exec`, which looks here before it compiles. The file is read at the first text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._compiled: dict[str, bytes] | None = None  # by text
        self._new: dict[str, bytes] = {}

    def run(self, text: str, globals_: dict[str, Any] | None, locals_: Mapping[str, object]) -> None:
        if self._compiled is None:
            self._compiled = self._read()
        compiled = self._compiled.get(text)
        if compiled is None:
            code = compile(text, "<string>", "exec", dont_inherit=True)
            self._new[text] = marshal.dumps(code)
        else:
            code = marshal.loads(compiled)  # noqa: S302  # as trusted as Python's own files
        builtins.exec(code, globals_, locals_)  # noqa: S102  # in place of the same call of `dataclasses`

    def write(self) -> None:
        """With what others wrote meanwhile. A file that cannot be written is done without."""
        if not self._new:
            return
        every = self._read() | self._new
        while len(every) > KEPT_MAX:
            del every[next(iter(every))]
        body = marshal.dumps(every)
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            fresh.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(MAGIC_NUMBER + zlib.crc32(body).to_bytes(4) + body)
            fresh.replace(self._path)  # whole or not at all, whoever reads meanwhile
            self._new.clear()

    def _read(self) -> dict[str, bytes]:
        """Nothing of another Python's, and nothing of a damaged file."""
        try:
            whole = self._path.read_bytes()
        except OSError:
            return {}
        head, body = whole[:_HEAD_BYTES], whole[_HEAD_BYTES:]
        if head != MAGIC_NUMBER + zlib.crc32(body).to_bytes(4):
            return {}
        found: dict[str, bytes] = marshal.loads(body)  # noqa: S302  # as above
        return found
