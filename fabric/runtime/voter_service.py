"""What a node that holds a voter does for the others of its group, whichever process the voter is in."""

from __future__ import annotations

import asyncio

from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.digest_watch import DigestWatch
from fabric.runtime.hard_state import HardState
from fabric.runtime.log_service import LogService
from fabric.runtime.voter import NodeVoter


class VoterService:
    """Answers the group's questions and compares rows with it, until `close`. Made on the event loop."""

    def __init__(self, voter: NodeVoter, state: HardState, rpc: Rpc) -> None:
        self._log = LogService(voter, rpc)
        self._digests = DigestWatch(voter, state, rpc)
        self._comparing = asyncio.create_task(self._digests.run(), name="digest watch")

    async def close(self) -> None:
        self._log.close()
        self._digests.close()
        self._comparing.cancel()
        await asyncio.wait((self._comparing,))
