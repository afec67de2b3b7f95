"""What an operator adds to what a host has, as `provider_config.py` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.placement.inventory import Inventory
from fabric.core.providers.model import provider_id_of
from fabric.errors import ConfigError
from proto.ids import NodeId

EVERY_HOST = "$COMPUTE_NODE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplement:
    """What is added to a host."""

    inventories: Mapping[str, Inventory] = field(default_factory=dict)
    traits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One provider of one file. `key`: a uuid, a name, or EVERY_HOST."""

    key: str
    where: str  # file and line
    supplement: Supplement


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    entries: tuple[Entry, ...] = ()

    def of(self, node_id: NodeId, name: str) -> Supplement:
        """What is meant for that host. Raises ConfigError when two entries are."""
        mine = [entry for entry in self.entries if entry.key in (provider_id_of(node_id), name)]
        found = mine or [entry for entry in self.entries if entry.key == EVERY_HOST]
        if len(found) > 1:
            raise ConfigError(
                f"{found[1].where}: {found[0].where} is about provider {name}, too; make one entry of both"
            )
        return found[0].supplement if found else Supplement()
