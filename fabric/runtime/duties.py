"""What a loop that never ends by itself left behind when it did."""

from __future__ import annotations

import asyncio
from typing import Any

from fabric.errors import FabricError, Outcome


class DutyEndedError(FabricError):
    """A duty cannot go on; the message names it and why. The agent stops, and starts again over its files."""

    code = "fabric.agent.duty_ended"
    outcome = Outcome.NOT_DONE


def raise_end(task: asyncio.Task[Any]) -> None:
    """Raises DutyEndedError from what ended it."""
    error = None if task.cancelled() else task.exception()
    raise DutyEndedError(f"{task.get_name()} ended: {error if error is not None else 'by itself'}") from error
