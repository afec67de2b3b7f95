"""A checked body of `explain` in our terms: the public API's and the local socket's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.control.explanations import InlineFlavor, Wish


def wish_of(body: Mapping[str, Any]) -> Wish:
    hints = dict(body.get("scheduler_hints", {}))
    if "group" in body:
        hints["group"] = body["group"]
    flavor = body["flavor"]
    return Wish(
        flavor=flavor if isinstance(flavor, str) else _size(flavor),
        image=body.get("image"),
        zone=body.get("availability_zone"),
        host_name=body.get("host"),
        hints=hints,
        project_id=body.get("project_id"),
        count=body.get("count", 1),
    )


def _size(flavor: Mapping[str, Any]) -> InlineFlavor:
    return InlineFlavor(
        vcpus=flavor["vcpus"],
        memory_mb=flavor["ram"],
        root_gb=flavor.get("disk", 0),
        ephemeral_gb=flavor.get("ephemeral", 0),
        swap_mb=flavor.get("swap", 0),
        extra_specs=flavor.get("extra_specs", {}),
    )
