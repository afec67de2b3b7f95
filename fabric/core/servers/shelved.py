"""Shelving. A server that is shelved is an image of its root disk and a row: its addresses, its name and what
it counts in quotas stay, its host is given back. What was on other disks of its is lost, as with Nova.

    shelving -> stopped -> its disk becomes an image -> shelved, and of no host
    unshelving -> placed, as a new server is -> built from that image -> active; the image goes

Until the image is in the rows, the disk is kept, and of every way to fail one leads back: the guest is
started again. From then on the image is the truth, until a guest that was built from it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fabric.core.servers.states import TaskState, VmState
from proto.ids import ImageId, ServerId, UserId

NAME_CHARS_MAX = 255  # of images
SHELVING_TASKS = frozenset({TaskState.SHELVING, TaskState.SHELVING_IMAGE_UPLOADING})
MAY_BE_SHELVED = frozenset({VmState.ACTIVE, VmState.STOPPED})
MAY_HAVE_IMAGE = frozenset({VmState.SHELVED_OFFLOADED, VmState.ERROR})  # of vm_states, at rest or not
# Of the image that a server was made from, what says nothing of what is in its disk now.
# Source: Nova's `non_inheritable_image_properties`, and Glance's own.
_NOT_INHERITED = frozenset({"cache_in_nova", "bittorrent", "owner_specified.openstack.md5"}) | frozenset(
    {"owner_specified.openstack.sha256", "owner_specified.openstack.object"}
)
_NOT_INHERITED_PREFIX = "img_signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """What is known of a server's shelving that has not ended. `is_saved`: the image is there, and nothing
    else of the server counts."""

    server_id: ServerId
    image_id: ImageId
    user_id: UserId
    is_saved: bool
    host_wanted: str | None  # to be unshelved on: a host's name


def image_name(server_name: str) -> str:
    return f"{server_name[: NAME_CHARS_MAX - len('-shelved')]}-shelved"


def image_properties(
    inherited: Mapping[str, str], *, server_id: str, base_image_id: str, user_id: str
) -> dict[str, str]:
    """Of the image that a server becomes. Guests must find the devices that they knew."""
    kept = {
        name: value
        for name, value in inherited.items()
        if name not in _NOT_INHERITED and not name.startswith(_NOT_INHERITED_PREFIX)
    }
    return kept | {
        "base_image_ref": base_image_id,
        "image_type": "snapshot",
        "instance_uuid": server_id,
        "user_id": user_id,
    }
