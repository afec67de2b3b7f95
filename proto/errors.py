"""Errors every layer shares. Each says whether the thing may have happened, because callers retry.

Source of the definite/indefinite distinction: the Maelstrom protocol document (jepsen-io/maelstrom).
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Outcome(StrEnum):
    NOT_DONE = "not_done"  # certain: nothing happened, retry freely
    UNKNOWN = "unknown"  # may have happened: read before retrying


class FabricError(Exception):
    """Root of every error of ours. `code` is stable and never reused; `outcome` is the safe claim."""

    code: ClassVar[str] = "fabric.internal"
    outcome: ClassVar[Outcome] = Outcome.UNKNOWN


class WireError(FabricError):
    """Bytes from outside that are not a message. `reason` is a counter's name, never the bytes."""

    code = "fabric.wire"
    outcome = Outcome.NOT_DONE

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class DriverError(FabricError):
    """A compute driver could not reach the end state it was asked for. Safe to ask again."""

    code = "fabric.driver"


class HypervisorAwayError(DriverError):
    """The hypervisor's service does not answer at all: restarted, upgraded, killed. It says nothing about
    any guest, and is worth waiting for."""

    code = "fabric.driver.away"


class NetPlugError(FabricError):
    """The network plug could not reach the end state it was asked for. Safe to ask again."""

    code = "fabric.netplug"
