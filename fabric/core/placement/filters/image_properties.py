"""ImagePropertiesFilter: architecture, hypervisor and its version as the image needs them. Source: Nova's
filter and Glance's useful image properties."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fabric.core.placement.changes import Change, without_image_properties
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest

ARCHITECTURE = ("hw_architecture", "architecture")
HYPERVISOR = ("img_hv_type", "hypervisor_type")
VERSION = "img_hv_requested_version"
VERSION_OLD = "hypervisor_version_requires"
MODE = ("hw_vm_mode", "vm_mode")
MODES = frozenset({"hvm"})  # what our drivers run
_NAMES = {"amd64": "x86_64", "x64": "x86_64", "x86": "i686", "i386": "i686", "arm64": "aarch64"}
_TERM = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+){0,3})\s*")


class ImagePropertiesFilter:
    name = "ImagePropertiesFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return not _NEEDED.isdisjoint(request.image_properties)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        kept = tuple((name, request.image_properties.get(name)) for name in _NEEDS)
        return table.mask(("image", kept), lambda facts: not _wrong(request, facts))

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        wrong = _wrong(request, table.hosts[place])
        return Refusal(
            filter_name=self.name,
            reason="not what the image needs",
            remark=", ".join(text for _, text in wrong),
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield without_image_properties(*(name for name, _ in _wrong(request, table.hosts[place])))


_NEEDS = (*ARCHITECTURE, *HYPERVISOR, VERSION, VERSION_OLD, *MODE)
_NEEDED = frozenset(_NEEDS)


def _wrong(request: PlacementRequest, facts: HostFacts) -> list[tuple[str, str]]:
    """(property, in words) of what the host has not."""
    host, found = facts.host, []
    for name, value in sorted(request.image_properties.items()):
        if name in ARCHITECTURE and _NAMES.get(value.lower(), value.lower()) != host.arch:
            found.append((name, f"is {host.arch}, and the image is for {value}"))
        elif name in HYPERVISOR and not _is_hypervisor(value, host.hypervisor_type):
            found.append((name, f"has {host.hypervisor_type}, and the image needs {value}"))
        elif name in MODE and value.lower() not in MODES:
            found.append((name, f"has no mode {value}"))
        elif name in (VERSION, VERSION_OLD) and not _is_version(host.hypervisor_version, value):
            found.append(
                (name, f"has hypervisor version {host.hypervisor_version}, and the image needs {value}")
            )
    return found


def _is_hypervisor(wanted: str, has: str) -> bool:
    """Who wants qemu is content with KVM, which is QEMU with help."""
    wanted, has = wanted.lower(), has.lower()
    return wanted == has or (wanted == "qemu" and has == "kvm")


def _is_version(has: int, wanted: str) -> bool:
    """`>=2.5,<9`: all of the terms. Versions are numbers of thousands: 7.2.1 is 7002001."""
    terms = [_TERM.fullmatch(part) for part in wanted.split(",")]
    return all(term is not None and _holds(has, term[1], _number(term[2])) for term in terms)


def _number(text: str) -> int:
    parts = [int(part) for part in text.split(".")][:3]
    parts += [0] * (3 - len(parts))
    return parts[0] * 1_000_000 + parts[1] * 1_000 + parts[2]


def _holds(has: int, verb: str, bound: int) -> bool:
    return {
        "<": has < bound,
        "<=": has <= bound,
        ">": has > bound,
        ">=": has >= bound,
        "==": has == bound,
        "!=": has != bound,
    }[verb]
