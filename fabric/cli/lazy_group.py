"""Groups of commands: one that names the nearest command to what was mistyped, and one whose commands are
imported when they are asked for (`fabric version` needs none of the others)."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import Any

import click


class SuggestingGroup(click.Group):
    """An unknown command is refused with the nearest one there is."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if near:
                raise click.UsageError(
                    f"No such command '{args[0]}'. Did you mean '{near[0]}'?", ctx
                ) from error
            raise


class LazyGroup(SuggestingGroup):
    """Command NAME is the attribute NAME of module PACKAGE.NAME; a dash in it is an underscore there.

    Args:
        package: where the modules are.
        names: every command there is; help and completion list no others.
    """

    def __init__(self, *args: Any, package: str, names: Sequence[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._package = package
        self._names = tuple(sorted(names))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._names:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"{self._package}.{name}"), name)
        assert isinstance(command, click.Command)
        return command
