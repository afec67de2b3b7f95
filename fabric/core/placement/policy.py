"""Which filters and weighers decide, made of an operator's settings; and drivers of other kinds.

Third parties add their own as entry points of the groups FILTER_GROUP, WEIGHER_GROUP and DRIVER_GROUP;
whoever starts the agent finds them and hands them in, for nothing here reads what is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from fabric.core.placement.filters import ALWAYS, DEFAULT_FILTERS, FILTERS, HostFilter, MakeFilter
from fabric.core.placement.filters.contract import Asked
from fabric.core.placement.filters.resource import asked_together
from fabric.core.placement.settings import PlacementSettings
from fabric.core.placement.weighers import WEIGHERS, HostWeigher, MakeWeigher
from fabric.core.placement.weighers.runs import Run, runs_of

T = TypeVar("T")

FILTER_GROUP, WEIGHER_GROUP, DRIVER_GROUP = "fabric.filters", "fabric.weighers", "fabric.schedulers"


@dataclass(frozen=True, slots=True)
class Policy:
    """`weighers` with their multipliers, none of which is 0. Without any, every host that fits is as good."""

    filters: tuple[HostFilter, ...]
    weighers: tuple[tuple[HostWeigher, float], ...]
    runs: tuple[Run, ...] = field(init=False, repr=False, compare=False)  # of the weighers
    asked: tuple[Asked, ...] = field(init=False, repr=False, compare=False)  # pass whom the filters pass

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", asked_together(self.filters))
        object.__setattr__(self, "runs", runs_of(self.weighers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What can be named: ours, and what is installed beside."""

    filters: Mapping[str, MakeFilter] = field(default_factory=lambda: FILTERS)
    weighers: Mapping[str, MakeWeigher] = field(default_factory=lambda: WEIGHERS)
    drivers: Mapping[str, Callable[[PlacementSettings, Parts], Policy]] = field(
        default_factory=lambda: DRIVERS
    )


def policy_of(settings: PlacementSettings, parts: Parts | None = None) -> Policy:
    """Raises ValueError for a name that nobody has, with those that there are."""
    parts = parts or Parts()
    return _known("scheduler.driver", settings.driver, parts.drivers)(settings, parts)


def _filters(settings: PlacementSettings, parts: Parts) -> tuple[HostFilter, ...]:
    """Those that stand for what apply refuses are always among them."""
    named = settings.filters or DEFAULT_FILTERS
    for name in named:
        _known("scheduler.filters", name, parts.filters)
    others = [name for name in named if name not in ALWAYS]
    return tuple(parts.filters[name](settings) for name in (*ALWAYS, *others))


def _check_multipliers(settings: PlacementSettings, parts: Parts) -> None:
    for name in settings.multipliers:
        _known("scheduler.weight_multipliers", name, parts.weighers)


def _filter_driver(settings: PlacementSettings, parts: Parts) -> Policy:
    """Nova's: filters, then weighers."""
    _check_multipliers(settings, parts)
    weighers = []
    for name, make in parts.weighers.items():
        weigher = make(settings)
        multiplier = settings.multipliers.get(name, weigher.multiplier)
        if multiplier:
            weighers.append((weigher, multiplier))
    return Policy(_filters(settings, parts), tuple(weighers))


def _chance_driver(settings: PlacementSettings, parts: Parts) -> Policy:
    """Any host that passes, by the hash of server and host: even, and the same whoever decides it.
    Multipliers count for nothing here; one that is misspelt is refused all the same."""
    _check_multipliers(settings, parts)
    return Policy(_filters(settings, parts), ())


def _pack_driver(settings: PlacementSettings, parts: Parts) -> Policy:
    """The fullest host that passes, so that others stay empty."""
    packed = {"RAMWeigher": -1.0, "CPUWeigher": -1.0, "DiskWeigher": -1.0, "IoOpsWeigher": 0.0}
    settings = replace(settings, multipliers={**packed, **settings.multipliers})
    return _filter_driver(settings, parts)


DRIVERS: Mapping[str, Callable[[PlacementSettings, Parts], Policy]] = {
    "filter": _filter_driver,
    "chance": _chance_driver,
    "pack": _pack_driver,
}


def _known(where: str, name: str, among: Mapping[str, T]) -> T:
    if name not in among:
        raise ValueError(f"{where}: {name!r} is not there; valid: {', '.join(sorted(among))}")
    return among[name]
