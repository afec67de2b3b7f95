"""Whether what flavor and image say of processors goes together. Refused is what Nova's API refuses, and what
is not done here: nobody shall get something else than was asked for in silence.

Source: Nova's `hw:cpu_policy`, `hw:cpu_thread_policy`, `hw:emulator_threads_policy` and its checks of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric.core.placement.resources import (
    CPU_POLICY,
    EMULATOR_POLICY,
    HYPERTHREADING,
    PCPU,
    THREAD_POLICY,
    VCPU,
    is_dedicated,
    named_amounts,
    thread_policy,
)

_IMAGE_POLICY, _IMAGE_THREADS = "hw_cpu_policy", "hw_cpu_thread_policy"
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
    return _policies(specs, image) or _amounts(vcpus, specs)


def _policies(specs: Mapping[str, str], image: Mapping[str, str]) -> str | None:
    policy, of_image = specs.get(CPU_POLICY), image.get(_IMAGE_POLICY, "shared")
    if policy == "mixed" or of_image == "mixed":
        return "The CPU policy mixed is not supported by this cloud; ask for dedicated or shared."
    if of_image == "dedicated" and policy == "shared":
        return "Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy of the flavor."
    if of_image == "dedicated" and policy is None:
        return "Image property hw_cpu_policy=dedicated needs a flavor with hw:cpu_policy=dedicated here."
    wanted, of_image = specs.get(THREAD_POLICY, "prefer"), image.get(_IMAGE_THREADS, "")
    if of_image and wanted not in ("prefer", of_image):
        return "Image property 'hw_cpu_thread_policy' is not permitted to override that of the flavor."
    is_pinned = is_dedicated(specs) or named_amounts(specs).get(PCPU, 0) > 0
    if (THREAD_POLICY in specs or of_image) and not is_pinned:
        return "Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy."
    if specs.get(EMULATOR_POLICY) == "isolate" and not is_pinned:
        return "An isolated CPU emulator threads option requires a dedicated CPU policy option."
    named = any(key.endswith(f":{HYPERTHREADING}") for key in (*specs, *image))
    if named and thread_policy(specs, image) in ("isolate", "require"):
        return f"Ask for either {THREAD_POLICY} or the trait {HYPERTHREADING}, not both."
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
