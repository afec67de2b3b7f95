"""IsolatedHostsFilter: some hosts are for some images, and those images for those hosts."""

from __future__ import annotations

from collections.abc import Iterable

from fabric.core.placement.changes import Change
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings


class IsolatedHostsFilter:
    name = "IsolatedHostsFilter"

    def __init__(self, settings: PlacementSettings) -> None:
        self._hosts = settings.isolated_hosts
        self._images = settings.isolated_images
        self._is_strict = settings.restrict_isolated_hosts_to_isolated_images

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(self._hosts or self._images)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        isolated = table.mask(("isolated", self._hosts), lambda facts: facts.host.name in self._hosts)
        if request.image_id in self._images:
            return isolated
        if self._is_strict:
            return ~isolated
        return isolated | ~isolated

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        is_isolated = table.hosts[place].host.name in self._hosts
        reason = "kept for other images" if is_isolated else "not among the image's hosts"
        return Refusal(filter_name=self.name, reason=reason, remark=f"is {reason}")

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        """The operator's settings, which nothing here can try."""
        return ()
