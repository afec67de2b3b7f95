"""ComputeFilter: the host's service is enabled and up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fabric.core.membership.model import MemberState
from fabric.core.placement.changes import Change, other_host
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest


class ComputeFilter:
    """Up means: the membership table says so, and no admin has forced it down."""

    name = "ComputeFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return True

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        return table.can_take

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        facts = table.hosts[place]
        host = facts.host
        if not host.enabled:
            why = f"is disabled: {host.disabled_reason}" if host.disabled_reason else "is disabled"
            return Refusal(filter_name=self.name, reason="disabled", remark=why)
        if host.forced_down:
            return Refusal(filter_name=self.name, reason="down", remark="is forced down")
        state = facts.state.value if facts.state is not None else "not in the membership table"
        return Refusal(filter_name=self.name, reason="down", remark=f"is not alive: {state}")

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        facts = table.hosts[place]
        name = facts.host.name
        words = []
        if not facts.host.enabled:
            words.append("enabled")
        if facts.host.forced_down:
            words.append("not forced down")
        if not facts.is_alive:
            words.append("alive")
        yield other_host(
            f"{name} was {' and '.join(words)}",
            facts,
            words,
            lambda now: replace(
                now,
                state=now.state if now.is_alive else MemberState.ALIVE,
                host=replace(now.host, enabled=True, forced_down=False),
            ),
        )
