"""Whether a flavor is one that a server can be made of, by itself and with an image."""

from __future__ import annotations

from fabric.control.errors import InvalidError
from fabric.core.images.model import Image
from fabric.core.placement.cpu_policy import cpu_fault
from fabric.core.servers.guest_limits import limits_fault
from fabric.core.servers.model import FlavorSnapshot
from fabric.core.topology.wish import topology_fault

_GIB = 1 << 30


def check_fit(flavor: FlavorSnapshot, image: Image | None) -> None:
    """Source: Nova's messages. A root disk of 0 GB is as large as the image. Raises: InvalidError."""
    properties = {} if image is None else image.properties
    if (fault := cpu_fault(flavor.vcpus, flavor.extra_specs, properties)) is not None:
        raise InvalidError(fault)
    if (fault := topology_fault(flavor, properties)) is not None:
        raise InvalidError(fault)
    if (fault := limits_fault(flavor.extra_specs)) is not None:
        raise InvalidError(f"flavorRef: {fault}")
    if image is None:
        return
    if flavor.memory_mb < image.min_ram_mb:
        raise InvalidError("Flavor's memory is too small for requested image.")
    if flavor.root_gb == 0:
        return
    if image.min_disk_gb > flavor.root_gb:
        raise InvalidError(
            f"Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is "
            f"{flavor.root_gb * _GIB} bytes, minimum size is {image.min_disk_gb * _GIB} bytes."
        )
    size_bytes = max(image.virtual_bytes or 0, image.size_bytes or 0 if image.virtual_bytes is None else 0)
    if size_bytes > flavor.root_gb * _GIB:
        raise InvalidError(
            f"Flavor's disk is too small for requested image. Flavor disk is {flavor.root_gb * _GIB} bytes, "
            f"image is {size_bytes} bytes."
        )
