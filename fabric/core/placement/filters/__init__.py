"""Filters under Nova's names, cheapest and most telling first: the first refusal is the one reported."""

from __future__ import annotations

from fabric.core.placement.filters.availability_zone import availability_zone_filter
from fabric.core.placement.filters.compute import compute_filter
from fabric.core.placement.filters.contract import Filter, Refusal
from fabric.core.placement.filters.core import core_filter
from fabric.core.placement.filters.disk import disk_filter
from fabric.core.placement.filters.ram import ram_filter
from fabric.core.placement.filters.requested_host import requested_host_filter

__all__ = ["FILTERS", "Filter", "Refusal"]

FILTERS: tuple[Filter, ...] = (
    requested_host_filter,
    availability_zone_filter,
    compute_filter,
    ram_filter,
    core_filter,
    disk_filter,
)
