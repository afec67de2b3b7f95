"""Which extra specs a flavor may have, from 2.86. Below that anything goes, as in Nova.

Names outside the namespaces listed here are free: operators use them to match their own hosts. Inside
one, a misspelt name would be ignored in silence, so it is refused. Source: Nova's "Extra Specs" page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fabric.api.faults import ApiError

_BOOLEAN = r"(?i:true|false|yes|no|on|off|1|0|t|f|y|n)"
_NUMBER = r"\d{1,18}"
_ANY = r"(?s:.*)"

_KNOWN: tuple[tuple[str, str], ...] = (  # (name, value), both whole-string patterns
    (r"hw:boot_menu", _BOOLEAN),
    (r"hw:cpu_cores|hw:cpu_max_cores|hw:cpu_max_sockets|hw:cpu_max_threads", _NUMBER),
    (r"hw:cpu_sockets|hw:cpu_threads|hw:numa_nodes|hw:serial_port_count", _NUMBER),
    (r"hw:cpu_policy", "dedicated|shared|mixed"),
    (r"hw:cpu_thread_policy", "prefer|isolate|require"),
    (r"hw:emulator_threads_policy", "isolate|share"),
    (r"hw:cpu_dedicated_mask|hw:cpu_realtime_mask", _ANY),
    (r"hw:cpu_realtime|hw:hide_hypervisor_id|hw:live_migration_post_copy", _BOOLEAN),
    (r"hw:locked_memory|hw:mem_encryption|hw:pmu|hw:vif_multiqueue_enabled", _BOOLEAN),
    (r"hw:watchdog_action", "none|pause|poweroff|reset|disabled"),
    (r"hw:mem_page_size", r"large|small|any|\d{1,9}([kKMGT]i?[bB]?)?"),
    (r"hw:numa_cpus\.\d{1,4}|hw:numa_mem\.\d{1,4}", _ANY),
    (r"hw:pci_numa_affinity_policy", "required|preferred|legacy|socket"),
    (r"hw:pmem", _ANY),
    (r"hw:machine_type|hw:maxphysaddr_mode|hw:maxphysaddr_bits|hw:viommu_model|hw:virtio_packed_ring", _ANY),
    (r"hw:tpm_version", r"1\.2|2\.0"),
    (r"hw:tpm_model", "tpm-tis|tpm-crb"),
    (r"hw_rng:allowed", _BOOLEAN),
    (r"hw_rng:rate_bytes|hw_rng:rate_period", _NUMBER),
    (r"hw_video:ram_max_mb", _NUMBER),
    (r"os:secure_boot", "required|disabled|optional"),
    (r"os:monitors", _NUMBER),
    (r"os:resolution", r"\d{3,5}x\d{3,5}"),
    (r"os:vtpm", _BOOLEAN),
    (r"pci_passthrough:alias", _ANY),
    (r"accel:device_profile", _ANY),
    (r"quota:.{1,255}", _ANY),  # `fabric.core.servers.guest_limits` knows them, and how they go together
    (r"resources([A-Za-z0-9_-]{1,64})?:[A-Z0-9_]+", _NUMBER),
    (r"trait([A-Za-z0-9_-]{1,64})?:[A-Z0-9_]+", "required|forbidden"),
    (r"group_policy", "none|isolate"),
    (r"hide_hypervisor_id", _BOOLEAN),
)
_COMPILED = tuple((re.compile(name), re.compile(value)) for name, value in _KNOWN)
_NAMESPACES = re.compile(
    r"(hw|hw_rng|hw_video|os|pci_passthrough|accel|quota|resources[A-Za-z0-9_-]*|trait[A-Za-z0-9_-]*):"
)


def check_extra_specs(specs: Mapping[str, str]) -> None:
    """Raises: ApiError 400 naming the spec."""
    for name, value in specs.items():
        known = next((value_form for form, value_form in _COMPILED if form.fullmatch(name)), None)
        if known is None:
            if _NAMESPACES.match(name):
                raise ApiError(
                    400, f"Validation failed; extra spec '{name}' does not appear to be a valid extra spec."
                )
        elif not known.fullmatch(value):
            raise ApiError(
                400, f"Validation failed; '{value[:64]}' is not a valid value for extra spec '{name}'."
            )
