"""Whether what flavor and image say of processors goes together. Refused is what Nova's API refuses, and what
is not done here: nobody shall get something else than was asked for in silence.

Source: Nova's `hw:cpu_policy`, `hw:cpu_thread_policy`, `hw:emulator_threads_policy` and its checks of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric.core.placement.cpu_set import parse_cpu_set
from fabric.core.placement.resources import (
    CPU_POLICY,
    DEDICATED_MASK,
    EMULATOR_POLICY,
    HYPERTHREADING,
    MIXED,
    PCPU,
    THREAD_POLICY,
    VCPU,
    named_amounts,
    pinned_vcpus,
    thread_policy,
)

_IMAGE_POLICY, _IMAGE_THREADS = "hw_cpu_policy", "hw_cpu_thread_policy"
_MASK_CHARS_MAX = 1_024
_VALUES = {  # by extra spec, and by the image property that says the same
    CPU_POLICY: ("dedicated", "shared", "mixed"),
    _IMAGE_POLICY: ("dedicated", "shared", "mixed"),
    THREAD_POLICY: ("prefer", "isolate", "require"),
    _IMAGE_THREADS: ("prefer", "isolate", "require"),
    EMULATOR_POLICY: ("isolate", "share"),
}


def cpu_fault(vcpus: int, specs: Mapping[str, str], image: Mapping[str, str]) -> str | None:
    """What is wrong, for whoever asked; None: nothing is. `vcpus`: the flavor's. `image`: its properties."""
    for name, valid in _VALUES.items():
        said = (image if name in (_IMAGE_POLICY, _IMAGE_THREADS) else specs).get(name)
        if said is not None and said not in valid:
            return f"{name}={said[:64]} is invalid; it may be {', '.join(valid)}."
    return _policies(specs, image) or _mask(vcpus, specs) or _amounts(vcpus, specs)


def _policies(specs: Mapping[str, str], image: Mapping[str, str]) -> str | None:
    policy, of_image = specs.get(CPU_POLICY), image.get(_IMAGE_POLICY, "shared")
    if of_image != "shared" and policy is None:
        return f"Image property hw_cpu_policy={of_image} needs a flavor with hw:cpu_policy={of_image} here."
    if (of_image == "dedicated" and policy != "dedicated") or (of_image == MIXED and policy == "shared"):
        return "Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy of the flavor."
    wanted, of_image = specs.get(THREAD_POLICY, "prefer"), image.get(_IMAGE_THREADS, "")
    if of_image and wanted not in ("prefer", of_image):
        return "Image property 'hw_cpu_thread_policy' is not permitted to override that of the flavor."
    is_pinned = policy in ("dedicated", MIXED) or named_amounts(specs).get(PCPU, 0) > 0
    if (THREAD_POLICY in specs or of_image) and not is_pinned:
        return "Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy."
    if specs.get(EMULATOR_POLICY) == "isolate" and not is_pinned:
        return "An isolated CPU emulator threads option requires a dedicated CPU policy option."
    named = any(key.endswith(f":{HYPERTHREADING}") for key in (*specs, *image))
    if named and thread_policy(specs, image) in ("isolate", "require"):
        return f"Ask for either {THREAD_POLICY} or the trait {HYPERTHREADING}, not both."
    return None


def _mask(vcpus: int, specs: Mapping[str, str]) -> str | None:
    if specs.get(CPU_POLICY) != MIXED:
        if DEDICATED_MASK in specs:
            return "Cannot specify 'hw:cpu_dedicated_mask' without the 'mixed' policy."
        return None
    if DEDICATED_MASK not in specs:
        return (
            "The 'mixed' CPU policy needs 'hw:cpu_dedicated_mask': the vCPUs that are to have a processor "
            "each. 'hw:cpu_realtime_mask' is not supported by this cloud."
        )
    mask = specs[DEDICATED_MASK]
    try:
        named = parse_cpu_set(mask[:_MASK_CHARS_MAX].removeprefix("^"))
    except ValueError as error:
        return f"hw:cpu_dedicated_mask: {error}"
    if len(mask) > _MASK_CHARS_MAX or max(named, default=0) >= vcpus:
        return f"hw:cpu_dedicated_mask={mask[:64]} must name vCPUs from 0 to {vcpus - 1}."
    if not 0 < len(pinned_vcpus(specs, vcpus)) < vcpus:
        return f"Mixed instance must have at least 1 pinned vCPU and 1 unpinned vCPU. See '{DEDICATED_MASK}'."
    return None


def _amounts(vcpus: int, specs: Mapping[str, str]) -> str | None:
    named = named_amounts(specs)
    shared, dedicated = named.get(VCPU, 0), named.get(PCPU, 0)
    if CPU_POLICY in specs and (shared or dedicated):
        return f"Ask for either {CPU_POLICY} or resources:VCPU and resources:PCPU, not both."
    if shared and dedicated:
        return "A server cannot have VCPU and PCPU at once; ask for one of them."
    wanted = vcpus + (specs.get(EMULATOR_POLICY) == "isolate")
    if dedicated and dedicated != wanted:
        return f"resources:PCPU={dedicated} does not match the flavor: it must be {wanted}."
    return None
