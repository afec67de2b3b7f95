"""What an agent offers whoever operates it: diagnosis of the mesh, metrics.

Reads the other parts and changes none of them; nothing here is needed for the cloud to work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fabric import __version__
from fabric.agent_node import NodeParts
from fabric.runtime.mesh_exam import ExamSources
from fabric.runtime.mesh_watch import MeshWatch
from fabric.runtime.metrics import MetricSources, scrape
from fabric.runtime.peer_probes import PeerProbes
from proto.ids import NodeId

LATELY_MS = 60_000  # what still counts as happening: a stranger redials within seconds


class OperatorSide:
    def __init__(self, node: NodeParts, *, door: Callable[[], str]) -> None:
        """`door`: where newcomers may knock here; "" for nowhere."""
        fleet, transport, lag = node.fleet, node.transport, node.lag
        self._node = node
        self._watch = MeshWatch(fleet, self.dropped, node.events, node.clock, name=node.config.node_name)

        def lag_ms() -> int:
            return lag().last_ms

        def former() -> dict[NodeId, int]:
            known = transport.former_keys_ms()
            return {node_id: age_ms for node_id, age_ms in known.items() if age_ms <= LATELY_MS}

        probes = PeerProbes(node.rpc, fleet, node.clock, lag_ms=lag_ms, door=door)
        self.probes = probes
        self.exam = ExamSources(
            view=fleet,
            probes=probes,
            clock=node.clock,
            lag_ms=lag_ms,
            dropped_lately=lambda: self._watch.dropped_lately(LATELY_MS),
            strangers=transport.strangers,
            former=former,
            door=door,
        )
        self._metrics = MetricSources(
            view=fleet,
            clock=node.clock,
            name=node.config.node_name,
            version=__version__,
            started_wall_ms=node.clock.wall_ms(),
            lag=lag,
            dropped=self.dropped,
            rpc_in_flight=lambda: node.rpc.in_flight,
            traffic=node.switchboard.traffic,
        )

    def dropped(self) -> Mapping[str, int]:
        """Frames thrown away since the start, by reason: not understood, not allowed, or not to be sent."""
        return dict(Counter(self._node.switchboard.dropped()) + Counter(self._node.fleet.dropped()))

    def scrape(self) -> str:
        return scrape(self._metrics)

    def work(self) -> tuple[tuple[str, Coroutine[Any, Any, None]], ...]:
        return (("mesh watch", self._watch.run()),)
