"""How this host's processors are divided: some for guests that want them alone, others shared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from drivers.contract import Capabilities
from fabric.core.placement.cpu_set import format_cpu_set
from fabric.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class HostProcessors:
    """Both empty: nothing is divided, and guests run wherever the kernel lets them."""

    shared: frozenset[int] = frozenset()  # for guests that have none for themselves
    dedicated: frozenset[int] = frozenset()

    def vcpus(self, offers: Capabilities) -> int:
        """What the host has of VCPU."""
        return len(self.shared) if self.shared or self.dedicated else offers.vcpus


def divide(online: Collection[int], *, shared: frozenset[int], dedicated: frozenset[int]) -> HostProcessors:
    """By the operator's two sets, either of which may be empty. With dedicated ones alone all others are
    shared. Raises ConfigError naming the set."""
    for name, wanted in (("cpu_shared_set", shared), ("cpu_dedicated_set", dedicated)):
        if missing := wanted.difference(online):
            raise ConfigError(
                f"compute.{name}: this machine has no processor {format_cpu_set(missing)}; "
                f"it has {format_cpu_set(online)}"
            )
    if dedicated and not shared:
        shared = frozenset(online) - dedicated
    return HostProcessors(shared=shared, dedicated=dedicated)
