"""Handing a message to a link that may be dialling, or full, just now."""

from __future__ import annotations

import asyncio

from fabric.mesh.switchboard import Switchboard
from proto.envelope import Message
from proto.ids import NodeId

_PAUSE_MIN_S = 0.005
_PAUSE_MAX_S = 0.1


async def send_until(switchboard: Switchboard, to: NodeId, message: Message, deadline: float) -> bool:
    """Tries until it is handed over (True) or loop time `deadline` is reached (False: nothing was sent).
    Raises WireError when it can never be sent."""
    loop = asyncio.get_running_loop()
    pause_s = _PAUSE_MIN_S
    while not switchboard.send(to, message):
        left_s = deadline - loop.time()
        if left_s <= 0:
            return False
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(_PAUSE_MAX_S, pause_s * 2)
    return True
