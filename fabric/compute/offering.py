"""What this host offers beyond its row: told after it registered, and again when that changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import asdict

from drivers.contract import Capabilities
from fabric.compute.supplement import Supplement
from fabric.core.placement.resources import CPU_LIMITS, PCPU
from fabric.core.providers.names import COMPUTE_NODE
from fabric.core.providers.standard_traits import STANDARD_TRAITS
from fabric.core.topology.facts import write_facts
from fabric.core.topology.model import HostTopology
from fabric.errors import CommandRejectedError, FabricError
from fabric.runtime.hard_state import HardState
from proto.commands.providers import ClassInventory, HostOffers
from proto.ids import NodeId, new_request_id

log = logging.getLogger(__name__)

CHECK_S = 30.0
RETRY_S = 0.5
NO_TOPOLOGY = HostTopology()
RETRY_S_MAX = 10.0  # also how long an offer waits at most when the fabric has come to level 2


def host_offers(
    node_id: NodeId,
    offers: Capabilities,
    added: Supplement,
    dedicated: Collection[int] = (),
    topology: HostTopology = NO_TOPOLOGY,
) -> HostOffers:
    """By driver and operator. Of the architecture: the host has it, and its guests may. `dedicated`: the
    processors that are given one guest each, and never twice."""
    inventories = {name: ClassInventory(**asdict(each)) for name, each in added.inventories.items()}
    if dedicated:
        inventories[PCPU] = ClassInventory(total=len(dedicated), max_unit=len(dedicated))
    arch = offers.arch.upper()
    own = {COMPUTE_NODE, f"HW_ARCH_{arch}", f"COMPUTE_ARCH_{arch}", *offers.traits} & STANDARD_TRAITS
    if offers.limits_cpu:
        own = own | {CPU_LIMITS}
    return HostOffers(
        host_id=node_id,
        inventories=inventories,
        traits=tuple(sorted(own.union(added.traits))),
        facts=write_facts(topology),
    )


class OfferTeller:
    """Keeps the host's offer true."""

    def __init__(
        self,
        state: HardState,
        registered: asyncio.Event,
        command: Callable[[], HostOffers],
        *,
        check_s: float = CHECK_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._state = state
        self._registered = registered
        self._command = command
        self._check_s = check_s
        self._retry_s = retry_s

    async def run(self) -> None:
        """Until cancelled."""
        await self._registered.wait()
        accepted: HostOffers | None = None
        while True:
            command = self._command()
            if command != accepted:
                await self._tell(command)
                accepted = command
            await asyncio.sleep(self._check_s)

    async def _tell(self, command: HostOffers) -> None:
        """Until it is accepted. Below level 2 it waits for the fabric; any other refusal may be put right by
        an admin, so it is repeated too, under a new id."""
        request_id = new_request_id()
        delay_s = self._retry_s
        while True:
            try:
                await self._state.propose(command, request_id=request_id)
                log.info("host's offer told", extra={"node": command.host_id, "traits": len(command.traits)})
                return
            except CommandRejectedError as error:
                request_id = new_request_id()
                level = logging.DEBUG if error.reason == "bad_state" else logging.ERROR
                log.log(level, "host's offer refused", extra={"reason": error.message})
            except FabricError as error:
                log.warning("host's offer not told yet", extra={"code": error.code, "error": str(error)})
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_S_MAX)
