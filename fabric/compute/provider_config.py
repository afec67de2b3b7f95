"""provider.yaml: what an operator adds to what a host has, in Nova's file format.

    meta:
      schema_version: '1.0'
    providers:
      - identification: {uuid: $COMPUTE_NODE}    # or this host's uuid, or name: its name
        inventories:
          additional:
            - CUSTOM_FPGA: {total: 4, max_unit: 2}
        traits:
          additional: [CUSTOM_SSD]

All `*.yaml` files of the directory count, so that the same ones may lie on every host: an entry about another
host is passed over, one by uuid or name goes before one for $COMPUTE_NODE. A file that is wrong anywhere is
refused with its line, for half of what was meant would be worse than none.

Source: Nova's "Managing Resource Providers Using Config Files".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml

from fabric.compute.supplement import EVERY_HOST, Entry, ProviderConfig, Supplement
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.resources import AMOUNT_MAX, PCPU, STANDARD_CLASSES
from fabric.core.providers.claims import OWN_CLASSES
from fabric.core.providers.names import is_custom
from fabric.core.providers.standard_traits import STANDARD_TRAITS
from fabric.errors import ConfigError

FILE_BYTES_MAX = 1 << 20
FILES_MAX = 64
ENTRIES_MAX = 1_000
SCHEMA_VERSION = "1.0"
MILLI = 1_000
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WHOLE = re.compile(r"[0-9]{1,10}")
_TEXT_TAG, _NULL_TAG = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
T = TypeVar("T")


def read_provider_config(directory: Path) -> ProviderConfig:
    """Of all files there; of none when there is no such directory. Raises ConfigError naming file, line
    and fix."""
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".yaml")
    except FileNotFoundError:
        return ProviderConfig()
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be read ({error.strerror})") from error
    if len(paths) > FILES_MAX:
        raise ConfigError(f"{directory}: {len(paths)} files; at most {FILES_MAX} can be read")
    return ProviderConfig(tuple(entry for path in paths for entry in _File(path).entries()))


class _File:
    """One file while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> list[Entry]:
        root = self._fields(self._root(), "the file", ("meta", "providers"))
        meta = self._fields(self._need(root, "meta", 1), "meta", ("schema_version",))
        version = self._need(meta, "schema_version", 1)
        if self._text(version) != SCHEMA_VERSION:
            self._refuse(version, f"schema_version {self._text(version)!r}; it must be '{SCHEMA_VERSION}'")
        if "providers" not in root:
            return []
        return [self._entry(node) for node in self._items(root["providers"], "providers")]

    def _root(self) -> yaml.Node:
        try:
            data = self._path.read_bytes()
            if len(data) > FILE_BYTES_MAX:
                raise ConfigError(f"{self._path}: larger than {FILE_BYTES_MAX} bytes")
            root = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise ConfigError(f"{self._path}:{line}: not UTF-8; save the file as UTF-8") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = 1 if mark is None else mark.line + 1
            raise ConfigError(f"{self._path}:{line}: not YAML: {error.problem or error.context}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise ConfigError(f"{self._path}:1: not YAML: {str(error)[:200]}") from error
        if root is None:
            raise ConfigError(f"{self._path}:1: empty; it needs meta.schema_version '{SCHEMA_VERSION}'")
        return root

    def _entry(self, node: yaml.Node) -> Entry:
        fields = self._fields(node, "a provider", ("identification", "inventories", "traits"))
        line = node.start_mark.line + 1
        identification = self._need(fields, "identification", line)
        inventories: dict[str, Inventory] = {}
        for each in self._additional(fields, "inventories"):
            self._inventory(each, inventories)
        traits = [self._trait(each) for each in self._additional(fields, "traits")]
        return Entry(
            key=self._key(identification),
            where=f"{self._path}:{line}",
            supplement=Supplement(inventories=inventories, traits=tuple(sorted(set(traits)))),
        )

    def _key(self, node: yaml.Node) -> str:
        fields = self._fields(node, "identification", ("uuid", "name"))
        if len(fields) != 1:
            self._refuse(node, "identification needs either uuid or name")
        ((which, value),) = fields.items()
        text = self._text(value)
        if which == "uuid" and text != EVERY_HOST and _UUID.fullmatch(text) is None:
            self._refuse(value, f"uuid {text!r}; it must be {EVERY_HOST} or a hypervisor's uuid")
        if which == "name" and (not text or text == EVERY_HOST):
            self._refuse(value, f"name {text!r}; write uuid: {EVERY_HOST} for every host")
        return text

    def _additional(self, fields: Mapping[str, yaml.Node], name: str) -> list[yaml.Node]:
        if name not in fields:
            return []
        inner = self._fields(fields[name], name, ("additional",))
        if "additional" not in inner:
            return []
        return self._items(inner["additional"], f"{name}.additional")

    def _inventory(self, node: yaml.Node, found: dict[str, Inventory]) -> None:
        for name, value in self._fields(node, "an inventory", None).items():
            if name in OWN_CLASSES:
                self._refuse(node, f"{name} is the host's own; set its ratio in [compute] of fabric.toml")
            if name == PCPU:
                self._refuse(
                    node, f"{name} is the host's own; set [compute] cpu_dedicated_set in fabric.toml"
                )
            if name not in STANDARD_CLASSES and not is_custom(name):
                self._refuse(node, f"resource class {name!r} is not standard; one's own begin with CUSTOM_")
            if name in found:
                self._refuse(node, f"resource class {name} is given twice; keep one")
            found[name] = self._numbers(name, value)

    def _numbers(self, name: str, node: yaml.Node) -> Inventory:
        known = ("total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio")
        fields = self._fields(node, name, known)
        total = self._whole(self._need(fields, "total", node.start_mark.line + 1), f"{name}.total", 1)

        def number(field_name: str, least: int, default: int) -> int:
            value = fields.get(field_name)
            return default if value is None else self._whole(value, f"{name}.{field_name}", least)

        ratio = MILLI
        if "allocation_ratio" in fields:
            ratio = self._ratio(fields["allocation_ratio"], f"{name}.allocation_ratio")
        inventory = Inventory(
            total=total,
            reserved=number("reserved", 0, 0),
            min_unit=number("min_unit", 1, 1),
            max_unit=number("max_unit", 1, total),
            step_size=number("step_size", 1, 1),
            ratio_milli=ratio,
        )
        if inventory.reserved > total:
            self._refuse(fields["reserved"], f"{name}.reserved is above its total {total}; lower it")
        if inventory.min_unit > inventory.max_unit:
            self._refuse(node, f"{name}.min_unit is above max_unit {inventory.max_unit}; lower it")
        return inventory

    def _trait(self, node: yaml.Node) -> str:
        name = self._text(node)
        if name not in STANDARD_TRAITS and not is_custom(name):
            self._refuse(node, f"trait {name!r} is not standard; one's own begin with CUSTOM_")
        return name

    # ---- values

    def _fields(self, node: yaml.Node, what: str, known: tuple[str, ...] | None) -> dict[str, yaml.Node]:
        """Of a mapping, by name. `known` None: any name."""
        if not isinstance(node, yaml.MappingNode):
            self._refuse(node, f"{what} must be a mapping (name: value)")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._text(key)
            if known is not None and name not in known:
                self._refuse(key, f"{what} has no {name!r}; it may have {', '.join(known)}")
            if name in found:
                self._refuse(key, f"{name!r} is given twice; keep one")
            found[name] = value
        return found

    def _items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if isinstance(node, yaml.ScalarNode) and node.tag == _NULL_TAG:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._refuse(node, f"{what} must be a list; begin each item with '- '")
        if len(node.value) > ENTRIES_MAX:
            self._refuse(node, f"{what} has {len(node.value)} items; at most {ENTRIES_MAX} can be read")
        return list(node.value)

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != _TEXT_TAG:
            shown = node.value if isinstance(node, yaml.ScalarNode) else "what is here"
            self._refuse(node, f"{shown} is no text; put it in quotes")
        return str(node.value)

    def _whole(self, node: yaml.Node, what: str, least: int) -> int:
        return self._number(
            node,
            lambda text: int(text) if _WHOLE.fullmatch(text) else None,
            lambda value: least <= value <= AMOUNT_MAX,
            f"{what} must be a whole number from {least} to {AMOUNT_MAX}",
        )

    def _ratio(self, node: yaml.Node, what: str) -> int:
        milli = self._number(
            node,
            lambda text: float(text),
            lambda value: 0.001 <= value <= 1_000_000,  # also refuses what is no number at all
            f"{what} must be a number from 0.001",
        )
        return round(milli * MILLI)

    def _number(
        self, node: yaml.Node, parse: Callable[[str], T | None], is_fine: Callable[[T], bool], fault: str
    ) -> T:
        value = None
        if isinstance(node, yaml.ScalarNode) and node.style is None:  # a quoted number is text
            try:
                value = parse(node.value)
            except ValueError:
                value = None
        if value is None or not is_fine(value):
            self._refuse(node, fault)
        return value

    def _need(self, fields: Mapping[str, yaml.Node], name: str, line: int) -> yaml.Node:
        if name not in fields:
            raise ConfigError(f"{self._path}:{line}: {name} is missing; add it")
        return fields[name]

    def _refuse(self, node: yaml.Node, fault: str) -> NoReturn:
        raise ConfigError(f"{self._path}:{node.start_mark.line + 1}: {fault}")
