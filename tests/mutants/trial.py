"""One bug against the tests that should kill it, in a private copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.bug import Bug

COPIED = ("proto", "fabric", "drivers", "netplug", "tests", "pyproject.toml")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "clients")
TEST_TIMEOUT_S = 60  # of one test: a bug that makes it hang is caught, not waited for
TRIAL_TIMEOUT_S = 180
SEEDS = 6  # of each simulated scenario: a bug worth planting does not need thousands
# What needs root or a server is left out: the score must be the same on every machine.
MARKS = "not postgres and not root and not netns and not libvirt and not clients"
TIME_LIMIT = "the time limit"


class TrialError(Exception):
    """The tests did not run: neither a kill nor a survival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    bug: Bug
    killed_by: str | None  # the test's id, or TIME_LIMIT; None: it survived
    seconds: float


class Copy:
    """The tree once more, where one bug at a time is planted."""

    def __init__(self, root: Path, into: Path) -> None:
        self._root = into
        self.output = ""  # of the last run
        into.mkdir(parents=True)
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, into / name, ignore=NOT_COPIED)
            else:
                shutil.copy2(root / name, into / name)

    def try_out(self, bug: Bug) -> Verdict:
        """Raises DoesNotApplyError, TrialError."""
        path = self._root / bug.file
        sound = path.read_text()
        started = time.monotonic()
        try:
            _write(path, bug.planted(sound))
            killed_by = self.run(bug.tests)
        except TrialError as error:
            raise TrialError(f"bug '{bug.name}': {error}") from error
        finally:
            _write(path, sound)
        return Verdict(bug=bug, killed_by=killed_by, seconds=time.monotonic() - started)

    def run(self, tests: Sequence[str], *, timeout_s: int = TRIAL_TIMEOUT_S) -> str | None:
        """The first test that fails, None when all pass. Raises TrialError."""
        arguments = ["-x", "-q", "-rfE", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
        arguments += ["-p", "no:randomly", "--hypothesis-seed=0", f"--timeout={TEST_TIMEOUT_S}", "-m", MARKS]
        environment = {**os.environ, "PYTHONPATH": str(self._root), "SEEDS": str(SEEDS)}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *arguments, *tests],
                cwd=self._root,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            return TIME_LIMIT
        self.output = done.stdout[-4_000:]
        if done.returncode == 0:
            return None
        if "+++ Timeout +++" in done.stdout:  # pytest-timeout ends the whole process
            return TIME_LIMIT
        lines = done.stdout.splitlines()
        failed = [
            line.split(" ", 1)[1] for line in lines if line.startswith(("FAILED tests/", "ERROR tests/"))
        ]
        if done.returncode != 1 or not failed:
            raise TrialError(f"pytest ended with {done.returncode}:\n{self.output}")
        return failed[0].split(" - ")[0]

    def imports_itself(self) -> bool:
        """Whether tests run here test this copy, and not an installed package."""
        code = "import fabric, proto, netplug, drivers; print(fabric.__file__, proto.__file__)"
        environment = {**os.environ, "PYTHONPATH": str(self._root)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self._root,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        places = done.stdout.split()
        return len(places) == 2 and all(Path(place).is_relative_to(self._root) for place in places)


def _write(path: Path, text: str) -> None:
    """Also forgets the module's bytecode: it is told apart by size and whole seconds only."""
    path.write_text(text)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
