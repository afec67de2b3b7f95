"""A scheduler out of a configuration: names are checked, parts that are installed are found."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from fabric import scheduler_policy as under_test
from fabric.config import Config, SchedulerSection, load
from fabric.core.placement.policy import FILTER_GROUP, Policy
from fabric.errors import ConfigError
from fabric.scheduler_policy import scheduler_policy


class NightFilter:
    """Somebody else's."""

    name = "NightFilter"

    def __init__(self, settings: object) -> None:
        del settings


def names(policy: Policy) -> list[str]:
    return [each.name for each in policy.filters]


def test_the_default_is_novas_order_of_things() -> None:
    policy = scheduler_policy(Config().scheduler)
    assert {"ComputeFilter", "AggregateInstanceExtraSpecsFilter", "NUMATopologyFilter"} <= set(names(policy))
    assert not {"IoOpsFilter", "NumInstancesFilter", "JsonFilter"} & set(names(policy))
    assert {weigher.name for weigher, _ in policy.weighers} >= {"RAMWeigher", "BuildFailureWeigher"}


def test_what_a_file_says_is_done(tmp_path: Path) -> None:
    path = tmp_path / "fabric.toml"
    path.write_text(
        '[scheduler]\nfilters = ["JsonFilter"]\nweight_multipliers = { RAMWeigher = 3, CPUWeigher = 0.0 }\n'
    )
    policy = scheduler_policy(load(path, {}).config.scheduler)
    assert "JsonFilter" in names(policy)
    assert "AggregateTypeAffinityFilter" not in names(policy)
    assert "NUMATopologyFilter" in names(policy)  # apply refuses what it refuses
    found = {weigher.name: multiplier for weigher, multiplier in policy.weighers}
    assert found["RAMWeigher"] == 3.0
    assert "CPUWeigher" not in found


def test_a_wrong_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"scheduler.filters: 'RamFliter' is not there; valid: .*RamFilter"):
        scheduler_policy(SchedulerSection(filters=["RamFliter"]))
    with pytest.raises(ConfigError, match=r"scheduler.driver: 'simple' is not there; valid: chance, filter"):
        scheduler_policy(SchedulerSection(driver="simple"))


def test_installed_parts_can_be_named_and_do_not_replace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    here = f"{__name__}:NightFilter"
    installed = EntryPoints(
        [EntryPoint("NightFilter", here, FILTER_GROUP), EntryPoint("ComputeFilter", here, FILTER_GROUP)]
    )
    monkeypatch.setattr(under_test, "entry_points", lambda group: installed.select(group=group))
    found = names(scheduler_policy(SchedulerSection(filters=["NightFilter"])))
    assert found[-1] == "NightFilter"
    assert found.count("NightFilter") == 1


def test_a_part_that_cannot_be_loaded_stops_the_start_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoints([EntryPoint("Odd", "no.such.module:Odd", FILTER_GROUP)])
    monkeypatch.setattr(under_test, "entry_points", lambda group: broken.select(group=group))
    with pytest.raises(ConfigError, match=r"no\.such\.module:Odd, installed as fabric\.filters Odd"):
        scheduler_policy(SchedulerSection())
