"""A planted bug, and planting it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Harm(StrEnum):
    SAFETY = "safety"  # something wrong happens
    LIVENESS = "liveness"  # something right never happens


class DoesNotApplyError(Exception):
    """The source no longer holds the text a bug replaces: the catalog has to follow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    name: str  # what the program does wrong, as a sentence without a full stop
    harm: Harm
    file: str
    old: str  # occurs exactly once in the file
    new: str
    tests: tuple[str, ...]  # files or ids, quickest killer first

    def planted(self, source: str) -> str:
        """The file's text with the bug in it. Raises DoesNotApplyError."""
        count = source.count(self.old)
        if count != 1:
            raise DoesNotApplyError(
                f"bug '{self.name}': the text it replaces occurs {count} times in {self.file}"
            )
        return source.replace(self.old, self.new)

    def check(self, root: Path) -> None:
        """Raises DoesNotApplyError, SyntaxError when the result is not Python, FileNotFoundError."""
        compile(self.planted((root / self.file).read_text()), self.file, "exec")
        for test in self.tests:
            path = root / test.partition("::")[0]
            if not path.exists():
                raise FileNotFoundError(f"bug '{self.name}': there is no {path}")
