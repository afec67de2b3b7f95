"""All providers as one forest: hosts as roots, what outsiders made below them or by itself.

A host's generation is a hash of what its provider is: it changes whenever its inventories, traits or
aggregates do, and nobody has to count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from fabric.core.nodes.model import Host
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.resources import AMOUNT_MAX, DISK_GB, MEMORY_MB, VCPU
from fabric.core.providers.model import Amounts, HostOffer, OutsideProvider, ProviderRows, provider_id_of
from fabric.core.providers.names import COMPUTE_NODE, DISABLED, SHARES
from proto.ids import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One node of the forest, whoever owns it."""

    provider_id: str
    name: str
    parent_id: str | None
    root_id: str
    generation: int
    inventories: Mapping[str, Inventory]  # by class, sorted
    traits: frozenset[str]
    aggregates: frozenset[str]
    used: Amounts
    updated_ms: int
    host_id: NodeId | None = None  # of a host

    def free(self, resource_class: str) -> int:
        """Negative where a ratio was lowered below what is held."""
        inventory = self.inventories.get(resource_class)
        return 0 if inventory is None else inventory.capacity - self.used.get(resource_class, 0)

    def gives(self, resource_class: str, amount: int) -> bool:
        """Whether one more consumer may have so much of it."""
        inventory = self.inventories.get(resource_class)
        return inventory is not None and inventory.takes(amount, self.used.get(resource_class, 0))


class Forest:
    """Providers by id, in the order: hosts by number, then others by age."""

    def __init__(self, rows: ProviderRows) -> None:
        self._outside = {each.provider_id: each for each in rows.outside}
        self._providers: dict[str, Provider] = {}
        for host in rows.hosts:
            provider_id = provider_id_of(host.host_id)
            offer = rows.offers.get(host.host_id)
            aggregates = rows.aggregates.get(host.host_id, ())
            used = rows.used.get(provider_id, {})
            self._providers[provider_id] = _of_host(host, offer, aggregates, used)
        for outside in rows.outside:
            used = rows.used.get(outside.provider_id, {})
            self._providers[outside.provider_id] = self._of_outside(outside, used)
        self._trees: dict[str, list[Provider]] = {}
        for provider in self._providers.values():
            self._trees.setdefault(provider.root_id, []).append(provider)
        for root_id, tree in self._trees.items():
            tree.sort(key=lambda each: each.provider_id != root_id)  # used at once

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def get(self, provider_id: str) -> Provider | None:
        return self._providers.get(provider_id)

    def roots(self) -> tuple[Provider, ...]:
        return tuple(self._providers[root_id] for root_id in self._trees)

    def tree(self, root_id: str) -> tuple[Provider, ...]:
        """The root and all below it, the root first."""
        return tuple(self._trees.get(root_id, ()))

    def tree_of(self, provider_id: str) -> tuple[Provider, ...]:
        """The whole tree that it is in; empty for an unknown one."""
        provider = self._providers.get(provider_id)
        return () if provider is None else self.tree(provider.root_id)

    def children(self, provider_id: str) -> tuple[Provider, ...]:
        return tuple(each for each in self if each.parent_id == provider_id)

    def ancestors(self, provider_id: str) -> list[str]:
        """Itself first, the root last."""
        found: list[str] = []
        at: str | None = provider_id
        while at is not None and at not in found:
            found.append(at)
            provider = self._providers.get(at)
            at = None if provider is None else provider.parent_id
        return found

    def sharing(self) -> Mapping[str, tuple[Provider, ...]]:
        """By root: the providers that share what they have with it. One shares with every tree of which some
        provider is in an aggregate with it."""
        found: dict[str, list[Provider]] = {}
        for giver in self:
            if SHARES not in giver.traits or not giver.aggregates:
                continue
            roots = {each.root_id for each in self if giver.aggregates & each.aggregates}
            for root_id in sorted(roots - {giver.root_id}):
                found.setdefault(root_id, []).append(giver)
        return {root_id: tuple(givers) for root_id, givers in found.items()}

    def _of_outside(self, row: OutsideProvider, used: Amounts) -> Provider:
        """A parent that is gone leaves its children as roots."""
        parent_id = row.parent_id if self._is_known(row.parent_id) else None
        return Provider(
            provider_id=row.provider_id,
            name=row.name,
            parent_id=parent_id,
            root_id=self._root_of(row.provider_id),
            generation=row.generation,
            inventories=row.inventories,
            traits=frozenset(row.traits),
            aggregates=frozenset(row.aggregates),
            used=used,
            updated_ms=row.updated_ms,
        )

    def _root_of(self, provider_id: str) -> str:
        at, seen = provider_id, {provider_id}
        while (row := self._outside.get(at)) is not None:
            above = row.parent_id
            if above is None or above in seen or not self._is_known(above):
                return at
            seen.add(above)
            at = above
        return at

    def _is_known(self, provider_id: str | None) -> bool:
        return provider_id in self._outside or provider_id in self._providers  # hosts come first


def host_traits(host: Host, offer: HostOffer | None) -> frozenset[str]:
    """What it said, and what its row says: a disabled host takes no new servers."""
    told = frozenset(() if offer is None else offer.traits) | {COMPUTE_NODE}
    return told if host.enabled and not host.forced_down else told | {DISABLED}


def host_inventories(host: Host, offer: HostOffer | None) -> dict[str, Inventory]:
    """Its row's numbers and its offer, by class. One server may have all of the real thing, not more: Nova's
    max_unit."""
    own = {
        DISK_GB: Inventory(
            total=host.disk_gb, max_unit=max(1, host.disk_gb), ratio_milli=host.disk_ratio_milli
        ),
        MEMORY_MB: Inventory(
            total=host.memory_mb,
            reserved=min(host.reserved_memory_mb, host.memory_mb),
            max_unit=max(1, host.memory_mb),
            ratio_milli=host.memory_ratio_milli,
        ),
        VCPU: Inventory(total=host.vcpus, max_unit=max(1, host.vcpus), ratio_milli=host.cpu_ratio_milli),
    }
    told = {} if offer is None else offer.inventories
    found = {name: each for name, each in {**told, **own}.items() if each.total > 0}
    return {name: found[name] for name in sorted(found)}


def _of_host(host: Host, offer: HostOffer | None, aggregates: tuple[str, ...], used: Amounts) -> Provider:
    inventories, traits = host_inventories(host, offer), host_traits(host, offer)
    provider_id = provider_id_of(host.host_id)
    return Provider(
        provider_id=provider_id,
        name=host.name,
        parent_id=None,
        root_id=provider_id,
        generation=_generation(host.name, inventories, traits, aggregates),
        inventories=inventories,
        traits=traits,
        aggregates=frozenset(aggregates),
        used=used,
        updated_ms=host.updated_ms if offer is None else max(host.updated_ms, offer.updated_ms),
        host_id=host.host_id,
    )


def _generation(
    name: str, inventories: Mapping[str, Inventory], traits: frozenset[str], aggregates: tuple[str, ...]
) -> int:
    """31 bits, as Placement's columns are."""
    told = (name, tuple(inventories.items()), sorted(traits), sorted(aggregates))
    return int.from_bytes(blake2b(repr(told).encode(), digest_size=4).digest()) & AMOUNT_MAX
