"""One server, one table: a host, or every host's reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from fabric.core.placement.claim import Claim, claim_of
from fabric.core.placement.explain import NoHost, Verdict
from fabric.core.placement.filters import FILTERS, Filter, Refusal
from fabric.core.placement.host_table import HostTable, HostView
from fabric.core.placement.weighers import weigh
from fabric.core.servers.model import Server
from proto.ids import NodeId, ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    server_id: ServerId
    host_id: NodeId
    claim: Claim


def choose(server: Server, table: HostTable) -> Choice | NoHost:
    """The heaviest host that passes all filters. Does not claim: the caller does, with `table.claim`."""
    fitting: list[HostView] = []
    verdicts: list[Verdict] = []
    for view in table.views():
        refusal = first_refusal(server, view)
        if refusal is None:
            fitting.append(view)
        else:
            verdicts.append(Verdict(host_name=view.host.name, refusal=refusal))
    claim = claim_of(server.flavor)
    if not fitting:
        return NoHost(server_id=server.server_id, claim=claim, verdicts=tuple(verdicts))
    weights = weigh(fitting)
    _, _, winner = max(
        (weights[i], rendezvous(server.server_id, view.host.host_id), i) for i, view in enumerate(fitting)
    )
    return Choice(server_id=server.server_id, host_id=fitting[winner].host.host_id, claim=claim)


def choose_batch(servers: Sequence[Server], table: HostTable) -> list[Choice | NoHost]:
    """Places servers in their order; each choice is claimed in `table` before the next is made."""
    results: list[Choice | NoHost] = []
    for server in servers:
        result = choose(server, table)
        if isinstance(result, Choice):
            table.claim(result.host_id, result.claim)
        results.append(result)
    return results


def first_refusal(server: Server, view: HostView, filters: Sequence[Filter] = FILTERS) -> Refusal | None:
    for test in filters:
        refusal = test(server, view)
        if refusal is not None:
            return refusal
    return None


def rendezvous(server_id: ServerId, host_id: NodeId) -> int:
    """Highest random weight (Thaler and Ravishankar, 1998): equal hosts share servers evenly."""
    return int.from_bytes(blake2b(f"{server_id}/{host_id}".encode(), digest_size=8).digest())
