"""Which PCI devices of a host guests may have, and under which names, as operators write it.

    [pci]
    device_spec = [{ vendor_id = "10de", product_id = "1db4" }, { address = "0000:81:*.*" }]
    alias = [{ name = "gpu", vendor_id = "10de", product_id = "1db4", numa_policy = "required" }]

Source: Nova's `[pci]device_spec` and `[pci]alias`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fabric.core.topology.model import ALIASES_MAX, Affinity

SPECS_MAX = 1_000
PCI, PF, VF = KINDS = ("type-PCI", "type-PF", "type-VF")
_ID = re.compile(r"[0-9a-fA-F]{4}")
_NAME = re.compile(r"[^:,\s]{1,255}")
_ADDRESS = re.compile(r"(\*|[0-9a-fA-F]{1,8}):(\*|[0-9a-fA-F]{1,2}):(\*|[0-9a-fA-F]{1,2})\.(\*|[0-7])")
_WIDTHS = (4, 2, 2, 1)
ANY = "*"

Table = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """As much of one as is asked about."""

    address: str
    vendor_id: str
    product_id: str
    kind: str
    parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """Devices that guests may have: those of which all of it is true. ANY is true of each."""

    vendor_id: str = ANY
    product_id: str = ANY
    address: tuple[str, ...] = (ANY,) * 4  # domain, bus, slot, function
    physical_network: str = ""

    def takes(self, device: Device) -> bool:
        """By its own address, or that of the card it is a part of."""
        return (
            self.vendor_id in (ANY, device.vendor_id)
            and self.product_id in (ANY, device.product_id)
            and (self._is_at(device.address) or self._is_at(device.parent))
        )

    def _is_at(self, address: str) -> bool:
        parts = re.split("[:.]", address)
        return len(parts) == len(self.address) and all(
            wanted in (ANY, part) for wanted, part in zip(self.address, parts, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    name: str
    vendor_id: str = ANY
    product_id: str = ANY
    kind: str = PCI
    affinity: Affinity = Affinity.LEGACY

    def names(self, device: Device) -> bool:
        return (
            self.kind == device.kind
            and self.vendor_id in (ANY, device.vendor_id)
            and self.product_id in (ANY, device.product_id)
        )


@dataclass(frozen=True, slots=True)
class PciConfig:
    specs: tuple[DeviceSpec, ...] = ()
    aliases: tuple[Alias, ...] = ()

    def names_of(self, device: Device) -> dict[str, Affinity]:
        """Under which guests may have it, sorted; none: they may not. Devices of a physical network are kept
        for ports, which cannot be had of that kind yet."""
        taking = [spec for spec in self.specs if spec.takes(device)]
        if not taking or any(spec.physical_network for spec in taking):
            return {}
        found = {alias.name: alias.affinity for alias in self.aliases if alias.names(device)}
        return {name: found[name] for name in sorted(found)}


def read_pci_config(device_spec: Sequence[Table], alias: Sequence[Table]) -> PciConfig:
    """Raises ValueError naming what is wrong, and what would be right."""
    for where, tables in (("device_spec", device_spec), ("alias", alias)):
        if len(tables) > SPECS_MAX:
            raise ValueError(f"pci.{where}: {len(tables)} entries; at most {SPECS_MAX} can be read")
    specs = tuple(_spec(f"pci.device_spec[{at}]", table) for at, table in enumerate(device_spec))
    aliases = tuple(_alias(f"pci.alias[{at}]", table) for at, table in enumerate(alias))
    first: dict[str, Alias] = {}
    for at, each in enumerate(aliases):
        same = first.setdefault(each.name, each)
        if (same.kind, same.affinity) != (each.kind, each.affinity):
            raise ValueError(
                f"pci.alias[{at}]: alias {each.name} has another device_type or numa_policy than before; "
                "give all of one name the same, or another name"
            )
    if len(first) > ALIASES_MAX:
        raise ValueError(f"pci.alias: {len(first)} names; at most {ALIASES_MAX} can be given")
    return PciConfig(specs, aliases)


def _spec(where: str, table: Table) -> DeviceSpec:
    _need_known(where, table, ("vendor_id", "product_id", "address", "physical_network"))
    if not table.keys() & {"vendor_id", "product_id", "address"}:
        raise ValueError(f"{where}: says no device; give vendor_id and product_id, or address")
    if table.get("physical_network") == "":
        raise ValueError(f"{where}.physical_network: is empty; name one, or leave it out")
    return DeviceSpec(
        vendor_id=_id(where, table, "vendor_id"),
        product_id=_id(where, table, "product_id"),
        address=_address(f"{where}.address", table["address"]) if "address" in table else (ANY,) * 4,
        physical_network=table.get("physical_network", ""),
    )


def _alias(where: str, table: Table) -> Alias:
    _need_known(where, table, ("name", "vendor_id", "product_id", "device_type", "numa_policy"))
    name = table.get("name", "")
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{where}.name: {name[:64]!r} must be 1 to 255 characters without comma, colon, space"
        )
    if not table.keys() & {"vendor_id", "product_id"}:
        raise ValueError(f"{where}: alias {name} names no device; give vendor_id and product_id")
    kind, affinity = table.get("device_type", PCI), table.get("numa_policy", Affinity.LEGACY.value)
    if kind not in KINDS:
        raise ValueError(f"{where}.device_type: {kind[:64]!r} is unknown; valid: {', '.join(KINDS)}")
    if affinity not in list(Affinity):
        raise ValueError(f"{where}.numa_policy: {affinity[:64]!r} is unknown; valid: {', '.join(Affinity)}")
    return Alias(
        name=name,
        vendor_id=_id(where, table, "vendor_id"),
        product_id=_id(where, table, "product_id"),
        kind=kind,
        affinity=Affinity(affinity),
    )


def _need_known(where: str, table: Table, known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{where}: there is no {key[:64]!r}; it may have {', '.join(known)}")


def _id(where: str, table: Table, key: str) -> str:
    text = table.get(key, ANY)
    if text != ANY and _ID.fullmatch(text) is None:
        raise ValueError(
            f'{where}.{key}: {text[:64]!r} must be four hexadecimal digits such as "10de", as `lspci -nn` '
            "shows them"
        )
    return text.lower()


def _address(where: str, text: str) -> tuple[str, ...]:
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError(
            f'{where}: {text[:64]!r} must be domain:bus:slot.function such as "0000:81:00.0"; * is any'
        )
    return tuple(
        part if part == ANY else part.lower().zfill(width)
        for part, width in zip(found.groups(), _WIDTHS, strict=True)
    )
