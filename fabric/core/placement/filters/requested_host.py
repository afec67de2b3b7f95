"""RequestedHost: an admin named the host ("zone:host", or `host` from microversion 2.74); and hosts that were
tried already, or that the server is to leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fabric.core.placement.changes import Change, ask_otherwise
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest


class RequestedHostFilter:
    name = "RequestedHost"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return request.host_name is not None or bool(request.ignored_hosts)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        passing: Mask = np.ones(len(table), dtype=np.bool_)
        if request.host_name is not None:
            names = table.column("name", lambda facts: facts.host.name)
            passing = (names == request.host_name).astype(bool)
        for host_id in request.ignored_hosts:
            if host_id in table.place:
                passing[table.place[host_id]] = False
        return passing

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        if table.hosts[place].host.host_id in request.ignored_hosts:
            return Refusal(filter_name=self.name, reason="tried before", remark="was tried before")
        return Refusal(
            filter_name=self.name, reason="not the host asked for", remark=f"is not {request.host_name}"
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        if request.host_name is not None:
            yield ask_otherwise(
                "it was asked for on any host", "host", None, lambda was: replace(was, host_name=None)
            )
        if request.ignored_hosts:
            yield ask_otherwise(
                "it could go where it was tried before",
                "ignored_hosts",
                [],
                lambda was: replace(was, ignored_hosts=frozenset()),
            )
