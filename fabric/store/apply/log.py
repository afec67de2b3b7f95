"""The log's own commands."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, select, update

from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.registry import Handler, handles
from fabric.store.revision import Revision
from fabric.store.revisions import REVISIONS
from proto.commands.log import LevelRaise, LogCompare

_LEVEL = single(select(t.position.c.level))
_SET_LEVEL = update(t.position).values(level=bindparam("to"))


@handles(LogCompare, lambda command: "")
def compare(context: ApplyContext, command: LogCompare) -> Result:
    return {}


def raising(revisions: Mapping[int, Revision]) -> Handler:
    """The handler of a program that has these. Whoever folds has looked before whether it can go along."""

    def raise_level(context: ApplyContext, command: LevelRaise) -> Result:
        level = context.number(_LEVEL)
        if command.to != level + 1:
            reject("conflict", f"The level is {level}, the next one {level + 1} and not {command.to}.")
        if command.to in revisions:
            revisions[command.to].run(context.connection)
        context.write(_SET_LEVEL, {"to": command.to})
        return {"level": command.to}

    return raise_level


handles(LevelRaise, lambda command: str(command.to))(raising(REVISIONS))
