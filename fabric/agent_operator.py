"""What an agent offers whoever operates it: the members' story, diagnosis of the mesh, metrics.

Reads the other parts and changes none of them; nothing here is needed for the cloud to work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fabric import __version__
from fabric.api.local.mesh import MeshParts
from fabric.api.local.metrics import MetricsServer
from fabric.config import Config
from fabric.core.membership.model import Member, MemberState
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.runtime.member_story import MemberStory
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.mesh_exam import ExamSources
from fabric.runtime.mesh_watch import MeshWatch
from fabric.runtime.metrics import MetricSources, scrape
from fabric.runtime.peer_probes import PeerProbes
from fabric.runtime.two_owners import OwnersWatch
from fabric.runtime.unstarted import is_news
from fabric.runtime.watchdog import LoopLag
from proto.ids import NodeId

LATELY_MS = 60_000  # what still counts as happening: a stranger redials within seconds


class OperatorSide:
    """Made before the membership loop starts, so that its story begins at the beginning."""

    def __init__(
        self,
        *,
        config: Config,
        fleet: MembershipLoop,
        rpc: MeshRpc,
        switchboard: Switchboard,
        clock: Clock,
        events: EventLog,
        strangers: Callable[[], Mapping[str, int]],
        former_keys_ms: Callable[[], Mapping[NodeId, int]],
        lag: Callable[[], LoopLag],
        door: Callable[[], str],
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._switchboard = switchboard
        story = MemberStory(events, clock, is_removed=lambda node_id: fleet.member(node_id) is None)

        def tell(member: Member, before: MemberState | None) -> None:
            if is_news(member, before):
                story.changed(member, before)

        fleet.watch(tell)
        fleet.watch(OwnersWatch(events).changed)
        self._watch = MeshWatch(fleet, self.dropped, events, clock, name=config.node_name)

        def lag_ms() -> int:
            return lag().last_ms

        probes = PeerProbes(rpc, fleet, clock, lag_ms=lag_ms, door=door)
        self.mesh = MeshParts(
            probes=probes,
            exam=ExamSources(
                view=fleet,
                probes=probes,
                clock=clock,
                lag_ms=lag_ms,
                dropped_lately=lambda: self._watch.dropped_lately(LATELY_MS),
                strangers=strangers,
                former=lambda: {n: age_ms for n, age_ms in former_keys_ms().items() if age_ms <= LATELY_MS},
                door=door,
            ),
        )
        self._metrics = MetricSources(
            view=fleet,
            clock=clock,
            name=config.node_name,
            version=__version__,
            started_wall_ms=clock.wall_ms(),
            lag=lag,
            dropped=self.dropped,
            rpc_in_flight=lambda: rpc.in_flight,
            traffic=switchboard.traffic,
        )

    def dropped(self) -> Mapping[str, int]:
        """Frames thrown away since the start, by reason: not understood, not allowed, or not to be sent."""
        return dict(Counter(self._switchboard.dropped()) + Counter(self._fleet.dropped()))

    def scrape(self) -> str:
        return scrape(self._metrics)

    def work(self) -> tuple[tuple[str, Coroutine[Any, Any, None]], ...]:
        return (("mesh watch", self._watch.run()),)

    async def serve_metrics(self) -> MetricsServer | None:
        """Listens where the configuration says; None when it says nowhere. Raises ConfigError."""
        where = self._config.metrics
        if not where.listen:
            return None
        return await MetricsServer.listen(self.scrape, host=where.listen, port=where.port)
