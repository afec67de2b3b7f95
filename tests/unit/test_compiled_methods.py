"""What `dataclasses` has compiled is compiled once, and makes the same classes ever after."""

from __future__ import annotations

import builtins
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fabric import compiled_methods
from fabric.compiled_methods import Kept


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "some.methods"


def made(kept: Kept) -> Any:
    """A class as ours are, with defaults of both kinds."""
    with mock.patch.dict(vars(dataclasses), {"exec": kept.run}):

        @dataclass(frozen=True, slots=True, kw_only=True, order=True)
        class Point:
            x: int
            y: int = 2
            names: list[str] = field(default_factory=list, compare=False)

    return Point


def compiling(work: Callable[[], object]) -> int:
    """How many texts `work` has compiled."""
    with mock.patch.object(
        compiled_methods, "compile", mock.Mock(wraps=builtins.compile), create=True
    ) as told:
        work()
    return int(told.call_count)


def check(kind: Any) -> None:
    one = kind(x=1)
    assert (one, repr(one)) == (kind(x=1, y=2, names=["a"]), f"{kind.__qualname__}(x=1, y=2, names=[])")
    assert hash(one) == hash(kind(x=1))
    assert replace(one, y=0) < one < kind(x=2)
    assert kind(x=1).names is not one.names
    with pytest.raises(FrozenInstanceError):
        one.x = 3
    with pytest.raises(TypeError, match="x"):
        kind(y=1)


def test_what_one_process_compiled_the_next_does_not(path: Path) -> None:
    first = Kept(path)
    assert compiling(lambda: check(made(first))) > 5
    first.write()
    assert compiling(lambda: check(made(Kept(path)))) == 0


def test_processes_that_end_one_after_the_other_keep_what_both_compiled(path: Path) -> None:
    kept = [Kept(path), Kept(path)]
    for number, each in enumerate(kept):
        each.run(f"a = {number}", {}, {})
    for each in kept:
        each.write()
    last = Kept(path)
    found: dict[str, object] = {}
    assert compiling(lambda: [last.run(f"a = {number}", {}, found) for number in (0, 1)]) == 0
    assert found == {"a": 1}
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:-1],
        lambda whole: whole[:20] + bytes([whole[20] ^ 1]) + whole[21:],
        lambda whole: bytes(len(MAGIC_NUMBER)) + whole[len(MAGIC_NUMBER) :],
    ],
    ids=["empty", "cut short", "another bit", "another Python's"],
)
def test_a_file_that_cannot_be_believed_is_written_anew(path: Path, damage: Callable[[bytes], bytes]) -> None:
    first = Kept(path)
    check(made(first))
    first.write()
    path.write_bytes(damage(path.read_bytes()))
    second = Kept(path)
    assert compiling(lambda: check(made(second))) > 5
    second.write()
    assert compiling(lambda: check(made(Kept(path)))) == 0


def test_a_folder_that_cannot_be_written_is_done_without(path: Path) -> None:
    path.parent.write_text("a file where the folder would be")
    kept = Kept(path)
    check(made(kept))
    kept.write()
    assert path.parent.is_file()


def test_the_oldest_make_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_methods, "KEPT_MAX", 3)
    for number in range(5):
        kept = Kept(path)
        kept.run(f"a = {number}", {}, {})
        kept.write()
    last = Kept(path)
    texts = [f"a = {number}" for number in range(5)]
    assert [compiling(lambda text=text: last.run(text, {}, {})) for text in texts] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(("told", "is_kept"), [({}, True), ({"PYTHONDONTWRITEBYTECODE": "1"}, False)])
def test_commands_keep_it_where_python_keeps_compiled_files(
    tmp_path: Path, told: dict[str, str], is_kept: bool
) -> None:
    clean = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(
        [sys.executable, "-m", "fabric.cli.main", "config", "--help"],
        env=clean | told | {"PYTHONPYCACHEPREFIX": str(tmp_path)},
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert len(list(tmp_path.rglob("*.methods"))) == is_kept
