"""The scheduler that a configuration asks for: settings, and whatever parts are installed as entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from fabric.config import SchedulerSection
from fabric.core.placement.policy import DRIVER_GROUP, FILTER_GROUP, WEIGHER_GROUP, Parts, Policy, policy_of
from fabric.core.placement.settings import PlacementSettings
from fabric.errors import ConfigError
from proto.ids import ImageId


def scheduler_policy(section: SchedulerSection) -> Policy:
    """Raises ConfigError: it names the setting, and for an unknown part those that there are."""
    ours = Parts()
    try:
        parts = Parts(
            filters={**_installed(FILTER_GROUP), **ours.filters},
            weighers={**_installed(WEIGHER_GROUP), **ours.weighers},
            drivers={**_installed(DRIVER_GROUP), **ours.drivers},
        )
        return policy_of(_settings(section), parts)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _settings(section: SchedulerSection) -> PlacementSettings:
    return PlacementSettings(
        driver=section.driver,
        filters=tuple(section.filters),
        multipliers=section.weight_multipliers,
        max_io_ops_per_host=section.max_io_ops_per_host,
        max_instances_per_host=section.max_instances_per_host,
        isolated_hosts=frozenset(section.isolated_hosts),
        isolated_images=frozenset(map(ImageId, section.isolated_images)),
        restrict_isolated_hosts_to_isolated_images=section.restrict_isolated_hosts_to_isolated_images,
        metric_weights=section.metric_weights,
        metrics_required=section.metrics_required,
        metrics_weight_of_unavailable=section.metrics_weight_of_unavailable,
    )


def _installed(group: str) -> dict[str, Any]:
    """Ours win over parts of the same name. Raises ConfigError."""
    found: dict[str, Any] = {}
    for point in entry_points(group=group):
        try:
            found[point.name] = point.load()
        except Exception as error:
            raise ConfigError(
                f"scheduler: {point.value}, installed as {group} {point.name}, cannot be loaded: {error}"
            ) from error
    return found
