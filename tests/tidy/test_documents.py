"""What the code offers and what the documents say of it are the same."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fabric.cli.main import COMMANDS, cli
from proto.commands import all_commands
from proto.errors import FabricError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("proto", "fabric", "drivers", "netplug")
# a use of the program stands in backquotes, after a prompt or after its path; elsewhere "fabric" is a word
README_USE = re.compile(r"(?:`|[$#] |bin/)fabric (?P<words>[a-z][a-z-]*(?: [a-z]+)?)(?P<rest>[^`;#\n]*)")
CODE = re.compile(r"fabric(\.[a-z_]+)+")


Named = tuple[tuple[str, ...], click.Command]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[Named]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, f"{path} {name}: listed, and not there"
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL_COMMANDS = list(commands(cli))


def test_every_file_of_the_command_line_is_reachable() -> None:
    files = {path.stem for path in (ROOT / "fabric" / "cli").glob("*.py")}
    helpers = {"__init__", "main", "lazy_group", "output", "screen", "target", "cut_off", "look", "copying"}
    helpers |= {"explaining"}
    assert files - helpers == {name.replace("-", "_") for name in COMMANDS}


@pytest.mark.parametrize(("path", "command"), ALL_COMMANDS, ids=[" ".join(path) for path, _ in ALL_COMMANDS])
def test_every_command_and_option_says_what_it_does(path: tuple[str, ...], command: click.Command) -> None:
    assert command.get_short_help_str(limit=200), path
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts}: no help"


def test_the_readme_names_only_commands_and_options_that_exist() -> None:
    """Every `fabric ...` line of the README parses; every top-level command is in it."""
    known = dict(ALL_COMMANDS)
    used: set[str] = set()
    for match in README_USE.finditer((ROOT / "README.md").read_text()):
        words = tuple(match["words"].split())
        path = next((words[:count] for count in (2, 1) if words[:count] in known), None)
        assert path is not None, f"README: there is no `fabric {match['words']}`"
        used.add(path[0])
        options = {name for parameter in known[path].params for name in parameter.opts} | {"--help"}
        ours = match["rest"].partition(" -- ")[0]
        for option in re.findall(r"(?<!\S)--[a-z-]+", ours):
            assert option in options, f"README: `fabric {' '.join(path)}` has no {option}"
    hidden = {path[0] for path, command in ALL_COMMANDS if command.hidden}
    assert set(COMMANDS) - used - hidden <= {"version"}, "README: these commands are not mentioned"


def test_every_log_command_is_in_the_specification() -> None:
    text = (ROOT / "proto" / "SPEC.md").read_text()
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+(?:@[0-9]+)?)`", text))
    assert set(all_commands()) - named == set()


def test_every_error_has_a_code_of_its_own() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    holders: dict[str, set[str]] = defaultdict(set)
    for kind in _subclasses(FabricError):
        if not kind.__module__.startswith(PACKAGES):
            continue  # a test's own
        assert "code" in vars(kind), f"{kind.__module__}.{kind.__name__} has no code of its own"
        assert CODE.fullmatch(kind.code), kind.code
        holders[kind.code].add(f"{kind.__module__}.{kind.__name__}")
    assert {code: kinds for code, kinds in holders.items() if len(kinds) > 1} == {}


def _subclasses(kind: type[FabricError]) -> Iterator[type[FabricError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)
