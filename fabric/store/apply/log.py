"""The log's own commands."""

from __future__ import annotations

from fabric.store.apply.context import ApplyContext, Result
from fabric.store.apply.registry import handles
from proto.commands.log import LogCompare


@handles(LogCompare, lambda command: "")
def compare(context: ApplyContext, command: LogCompare) -> Result:
    return {}
