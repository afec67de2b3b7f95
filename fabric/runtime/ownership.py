"""Whether what is said in a host's name is said by the process that owns its identity.

Two processes hold the same keys when a state directory was copied. Membership decides which of them stays and
takes some seconds for it; until then neither says anything of guests or inventory that would reach the rows,
nor reads what it should run. Not against a thief of keys, who can claim what he likes: against an accident.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fabric.core.membership.model import GONE_STATES, Member, NodeRecord
from fabric.errors import FabricError, Outcome
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from proto.codec import Plain
from proto.errors import WireError
from proto.ids import NodeId

PROCESS_FIELD = "process"
BOOT_ID_BYTES_MAX, ENDPOINT_CHARS_MAX = 64, 256
# Two living owners outbid each other within a second, and one that is heard by its old link is shown the
# other at least every 5 s (RIVAL_PAUSE_MS): who was not heard for so long is not there.
CONTESTED_MS = 10_000


class OwnerUnclearError(FabricError):
    """Nothing was done; to be asked again. Ends when one of the two processes is gone."""

    code = "fabric.node.two_owners"
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True)
class Process:
    """One life of a node's agent, as it names itself to the conductor."""

    boot_id: bytes
    endpoint: str  # of its mesh ROUTER: no two living processes have the same

    @classmethod
    def of(cls, record: NodeRecord) -> Process:
        return cls(record.boot_id, record.endpoint)

    def to_plain(self) -> dict[str, Plain]:
        return {"boot_id": self.boot_id, "endpoint": self.endpoint}


def process_from_plain(body: Mapping[str, Plain]) -> Process | None:
    """None: a program from before did not say. Raises WireError."""
    said = body.get(PROCESS_FIELD)
    if said is None:
        return None
    boot_id = said.get("boot_id") if isinstance(said, dict) else None
    endpoint = said.get("endpoint") if isinstance(said, dict) else None
    if not isinstance(boot_id, bytes) or not 0 < len(boot_id) <= BOOT_ID_BYTES_MAX:
        raise WireError("bad_field", f"{PROCESS_FIELD}.boot_id: 1 to {BOOT_ID_BYTES_MAX} bytes")
    if not isinstance(endpoint, str) or not 0 < len(endpoint) <= ENDPOINT_CHARS_MAX:
        raise WireError("bad_field", f"{PROCESS_FIELD}.endpoint: 1 to {ENDPOINT_CHARS_MAX} characters")
    return Process(boot_id, endpoint)


def owner_check(fleet: Fleet, clock: Clock) -> Callable[[NodeId, Process | None], None]:
    """`need_owner` by what this node's table says; who is in no table is nobody's concern here."""

    def check(node_id: NodeId, process: Process | None) -> None:
        member = fleet.member(node_id)
        if member is not None:
            need_owner(member, process, clock.monotonic_ms())

    return check


def lives_elsewhere(member: Member | None, endpoint: str) -> bool:
    """Whether a process with that member's identity lives, and not at `endpoint`."""
    if member is None or member.record.epoch == 0 or member.state in GONE_STATES:
        return False
    return member.record.endpoint != endpoint


def need_owner(member: Member, process: Process | None, now_ms: int) -> None:
    """`now_ms` is monotonic. Raises OwnerUnclearError where another process may own this node's identity.

    A process that starts again where its former life was is believed at once: nobody else can listen there,
    and its first word may be later here than its first question."""
    record = member.record
    if member.contested_ms is not None and now_ms - member.contested_ms < CONTESTED_MS:
        raise OwnerUnclearError(
            f"two processes have used the identity of {record.name} a moment ago; its reports wait until one "
            "of them is gone"
        )
    if process is None or process.boot_id == record.boot_id:
        return
    if lives_elsewhere(member, process.endpoint):
        raise OwnerUnclearError(
            f"{record.name} lives at {record.endpoint}, and this process is at {process.endpoint}; its "
            "reports wait until it is known which of them is the node"
        )
