"""What flavor and image may say of processors together."""

from __future__ import annotations

import pytest

from fabric.core.placement.cpu_policy import cpu_fault

DEDICATED, SHARED = {"hw:cpu_policy": "dedicated"}, {"hw:cpu_policy": "shared"}
MIXED = {"hw:cpu_policy": "mixed"}
ISOLATED = {"hw:emulator_threads_policy": "isolate"}
HT = "HW_CPU_HYPERTHREADING"


@pytest.mark.parametrize(
    ("specs", "image"),
    [
        ({}, {}),
        (SHARED, {"hw_cpu_policy": "shared"}),
        (DEDICATED, {}),
        (DEDICATED, {"hw_cpu_policy": "dedicated"}),
        (DEDICATED, {"hw_cpu_policy": "shared"}),  # the flavor's counts, as in Nova
        (DEDICATED | ISOLATED, {}),
        (DEDICATED, {"hw_cpu_policy": "mixed"}),
        (MIXED | {"hw:cpu_dedicated_mask": "1"}, {"hw_cpu_policy": "mixed"}),
        (MIXED | {"hw:cpu_dedicated_mask": "^0", "hw:cpu_thread_policy": "prefer"} | ISOLATED, {}),
        (DEDICATED | {"hw:cpu_thread_policy": "require"}, {"hw_cpu_thread_policy": "require"}),
        (DEDICATED | {"hw:cpu_thread_policy": "prefer"}, {"hw_cpu_thread_policy": "isolate"}),
        (DEDICATED | {"resources:VCPU": "0"}, {}),
        (DEDICATED | {f"trait:{HT}": "required", "hw:cpu_thread_policy": "prefer"}, {}),
        ({"resources:PCPU": "2"}, {}),
        ({"resources:PCPU": "3"} | ISOLATED, {}),
        ({"resources1:PCPU": "1", "resources2:PCPU": "1"}, {}),
        ({"resources:VCPU": "7"}, {}),
    ],
)
def test_what_goes_together(specs: dict[str, str], image: dict[str, str]) -> None:
    assert cpu_fault(2, specs, image) is None


@pytest.mark.parametrize(
    ("specs", "image", "words"),
    [
        (
            {"hw:cpu_policy": "often"},
            {},
            "hw:cpu_policy=often is invalid; it may be dedicated, shared, mixed.",
        ),
        ({}, {"hw_cpu_policy": "often"}, "hw_cpu_policy=often is invalid"),
        ({"hw:cpu_thread_policy": "x"}, {}, "hw:cpu_thread_policy=x is invalid"),
        ({"hw:emulator_threads_policy": "x"}, {}, "hw:emulator_threads_policy=x is invalid"),
        ({"hw:cpu_policy": "mixed"}, {}, "needs 'hw:cpu_dedicated_mask'"),
        (MIXED | {"hw:cpu_dedicated_mask": "0-1"}, {}, "at least 1 pinned vCPU and 1 unpinned vCPU"),
        (MIXED | {"hw:cpu_dedicated_mask": "^0-1"}, {}, "at least 1 pinned vCPU and 1 unpinned vCPU"),
        (MIXED | {"hw:cpu_dedicated_mask": "0,2"}, {}, "must name vCPUs from 0 to 1"),
        (MIXED | {"hw:cpu_dedicated_mask": "^2"}, {}, "must name vCPUs from 0 to 1"),
        (MIXED | {"hw:cpu_dedicated_mask": "one"}, {}, "'one' is no processor's number"),
        (MIXED | {"hw:cpu_dedicated_mask": "0" + "," * 2_000}, {}, "must name vCPUs"),
        (DEDICATED | {"hw:cpu_dedicated_mask": "0"}, {}, "without the 'mixed' policy"),
        (MIXED | {"hw:cpu_dedicated_mask": "0", "resources:PCPU": "1"}, {}, "not both"),
        (MIXED, {"hw_cpu_policy": "dedicated"}, "not permitted to override CPU pinning policy"),
        (SHARED, {"hw_cpu_policy": "mixed"}, "not permitted to override CPU pinning policy"),
        ({}, {"hw_cpu_policy": "mixed"}, "needs a flavor with hw:cpu_policy=mixed"),
        (SHARED, {"hw_cpu_policy": "dedicated"}, "not permitted to override CPU pinning policy"),
        ({}, {"hw_cpu_policy": "dedicated"}, "needs a flavor with hw:cpu_policy=dedicated"),
        (
            DEDICATED | {"hw:cpu_thread_policy": "require"},
            {"hw_cpu_thread_policy": "isolate"},
            "not permitted to override that of the flavor",
        ),
        ({"hw:cpu_thread_policy": "prefer"}, {}, "in a non dedicated cpu pinning policy"),
        (SHARED, {"hw_cpu_thread_policy": "isolate"}, "in a non dedicated cpu pinning policy"),
        (SHARED | ISOLATED, {}, "requires a dedicated CPU policy"),
        (DEDICATED | {"hw:cpu_thread_policy": "require", f"trait:{HT}": "required"}, {}, "not both"),
        (DEDICATED | {"resources:PCPU": "2"}, {}, "not both"),
        (SHARED | {"resources1:VCPU": "2"}, {}, "not both"),
        ({"resources:PCPU": "1", "resources:VCPU": "1"}, {}, "at once"),
        ({"resources:PCPU": "1"}, {}, "resources:PCPU=1 does not match the flavor: it must be 2."),
        ({"resources:PCPU": "2"} | ISOLATED, {}, "it must be 3"),
    ],
)
def test_what_does_not(specs: dict[str, str], image: dict[str, str], words: str) -> None:
    assert words in (cpu_fault(2, specs, image) or "")
