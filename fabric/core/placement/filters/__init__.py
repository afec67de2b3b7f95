"""Filters under Nova's names, cheapest and most telling first: the first refusal is the one reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric.core.placement.filters.aggregate_extra_specs import AggregateInstanceExtraSpecsFilter
from fabric.core.placement.filters.aggregate_images import AggregateImagePropertiesIsolation
from fabric.core.placement.filters.aggregate_tenancy import AggregateMultiTenancyIsolation
from fabric.core.placement.filters.aggregate_type import AggregateTypeAffinityFilter
from fabric.core.placement.filters.availability_zone import AvailabilityZoneFilter
from fabric.core.placement.filters.cidr_affinity import SimpleCIDRAffinityFilter
from fabric.core.placement.filters.compute import ComputeFilter
from fabric.core.placement.filters.compute_capabilities import ComputeCapabilitiesFilter
from fabric.core.placement.filters.contract import HostFilter, Refusal
from fabric.core.placement.filters.extra_spec_names import ExtraSpecNamesFilter
from fabric.core.placement.filters.image_properties import ImagePropertiesFilter
from fabric.core.placement.filters.isolated_hosts import IsolatedHostsFilter
from fabric.core.placement.filters.json_query import JsonFilter
from fabric.core.placement.filters.load_limits import (
    aggregate_io_ops_filter,
    aggregate_num_instances_filter,
    io_ops_filter,
    num_instances_filter,
)
from fabric.core.placement.filters.metrics import MetricsFilter
from fabric.core.placement.filters.numa_topology import NUMATopologyFilter
from fabric.core.placement.filters.pci_passthrough import PciPassthroughFilter
from fabric.core.placement.filters.requested_host import RequestedHostFilter
from fabric.core.placement.filters.resource import (
    OtherResourcesFilter,
    core_filter,
    disk_filter,
    ram_filter,
)
from fabric.core.placement.filters.same_host import DifferentHostFilter, SameHostFilter
from fabric.core.placement.filters.server_groups import (
    ServerGroupAffinityFilter,
    ServerGroupAntiAffinityFilter,
)
from fabric.core.placement.filters.traits import TraitsFilter
from fabric.core.placement.settings import PlacementSettings

__all__ = ["ALWAYS", "DEFAULT_FILTERS", "FILTERS", "HostFilter", "MakeFilter", "Refusal"]

MakeFilter = Callable[[PlacementSettings], HostFilter]

FILTERS: Mapping[str, MakeFilter] = {
    "RequestedHost": lambda settings: RequestedHostFilter(),
    "AvailabilityZoneFilter": lambda settings: AvailabilityZoneFilter(),
    "ComputeFilter": lambda settings: ComputeFilter(),
    "RamFilter": lambda settings: ram_filter,
    "CoreFilter": lambda settings: core_filter,
    "DiskFilter": lambda settings: disk_filter,
    "ResourceClassFilter": lambda settings: OtherResourcesFilter(),
    "TraitsFilter": lambda settings: TraitsFilter(),
    "ExtraSpecNamesFilter": lambda settings: ExtraSpecNamesFilter(),
    "ComputeCapabilitiesFilter": lambda settings: ComputeCapabilitiesFilter(),
    "ImagePropertiesFilter": lambda settings: ImagePropertiesFilter(),
    "AggregateInstanceExtraSpecsFilter": lambda settings: AggregateInstanceExtraSpecsFilter(),
    "AggregateMultiTenancyIsolation": lambda settings: AggregateMultiTenancyIsolation(),
    "AggregateImagePropertiesIsolation": lambda settings: AggregateImagePropertiesIsolation(),
    "AggregateTypeAffinityFilter": lambda settings: AggregateTypeAffinityFilter(),
    "AggregateIoOpsFilter": lambda settings: aggregate_io_ops_filter(settings.max_io_ops_per_host),
    "AggregateNumInstancesFilter": lambda settings: aggregate_num_instances_filter(
        settings.max_instances_per_host
    ),
    "ServerGroupAntiAffinityFilter": lambda settings: ServerGroupAntiAffinityFilter(),
    "ServerGroupAffinityFilter": lambda settings: ServerGroupAffinityFilter(),
    "DifferentHostFilter": lambda settings: DifferentHostFilter(),
    "SameHostFilter": lambda settings: SameHostFilter(),
    "SimpleCIDRAffinityFilter": lambda settings: SimpleCIDRAffinityFilter(),
    "JsonFilter": lambda settings: JsonFilter(),
    "PciPassthroughFilter": lambda settings: PciPassthroughFilter(),
    "NUMATopologyFilter": lambda settings: NUMATopologyFilter(),
    "IsolatedHostsFilter": IsolatedHostsFilter,
    "MetricsFilter": MetricsFilter,
    "IoOpsFilter": lambda settings: io_ops_filter(settings.max_io_ops_per_host),
    "NumInstancesFilter": lambda settings: num_instances_filter(settings.max_instances_per_host),
}

# Apply refuses what these refuse, or nobody could mean otherwise; so they cannot be left out.
ALWAYS = (
    "RequestedHost",
    "AvailabilityZoneFilter",
    "ComputeFilter",
    "RamFilter",
    "CoreFilter",
    "DiskFilter",
    "ResourceClassFilter",
    "TraitsFilter",
    "ExtraSpecNamesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "PciPassthroughFilter",
    "NUMATopologyFilter",
)
# All that act on what somebody asked for or wrote down, and so harm nobody who did not. The two that limit
# every host, and JsonFilter, which lets tenants ask what hosts have, are for those who name them.
_ON_DEMAND = frozenset({"IoOpsFilter", "NumInstancesFilter", "JsonFilter"})
DEFAULT_FILTERS = tuple(name for name in FILTERS if name not in _ON_DEMAND)
