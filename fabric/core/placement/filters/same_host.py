"""DifferentHostFilter and SameHostFilter: the hints `different_host` and `same_host` name servers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fabric.core.placement.changes import Change, without_hints
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest
from proto.ids import ServerId


class DifferentHostFilter:
    name = "DifferentHostFilter"
    hint = "different_host"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(request.hints.get(self.hint))

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        return ~_having(request, table, self.hint)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        return Refusal(
            filter_name=self.name,
            reason="where a server is that it is to be away from",
            remark=f"has a server that {self.hint} names",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield without_hints(self.hint)


class SameHostFilter:
    name = "SameHostFilter"
    hint = "same_host"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(request.hints.get(self.hint))

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        return _having(request, table, self.hint)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        return Refusal(
            filter_name=self.name,
            reason="where no server is that it is to be beside",
            remark=f"has no server that {self.hint} names",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield without_hints(self.hint)


def _having(request: PlacementRequest, table: HostTable, hint: str) -> Mask:
    having: Mask = np.zeros(len(table), dtype=np.bool_)
    for server_id in request.hints[hint]:
        place = table.server_places.get(ServerId(server_id))
        if place is not None:
            having[place] = True
    return having
