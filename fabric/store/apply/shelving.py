"""Servers are shelved and unshelved. What comes of it later: `shelve_steps.py`. Messages in Nova's words."""

from __future__ import annotations

from fabric.core.images.model import ImageStatus
from fabric.core.servers.shelved import MAY_BE_SHELVED
from fabric.core.servers.states import Desired, TaskState, VmState
from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.lookups import image_if_any, is_image, need_server
from fabric.store.apply.move_rows import new_work
from fabric.store.apply.registry import handles
from fabric.store.apply.server_rows import AT_REST, NO_FAULT, need_newest_work, need_own, write_server
from fabric.store.apply.shelve_steps import off_host
from fabric.store.apply.shelved_rows import insert_shelved, save_image, shelved, want_host
from fabric.store.prepared import AnyRow
from proto.commands.shelving import ServerShelve, ServerShelved, ServerUnshelve

SIZE_MAX = 1 << 50  # bytes
_HEX = frozenset("0123456789abcdef")
_MAY_BE_SHELVED = frozenset(state.value for state in MAY_BE_SHELVED)


@handles(ServerShelve, lambda command: command.server_id)
def shelve_server(context: ApplyContext, command: ServerShelve) -> Result:
    row = need_server(context, command.server_id)
    _need_at_rest(row, "shelve", _MAY_BE_SHELVED)
    if row.host_id is None:
        reject("bad_state", f"Instance {row.server_id} is not ready: no host ever had it.")
    if row.desired == Desired.ABSENT.value:
        reject("bad_state", f"Cannot 'shelve' instance {row.server_id}: its deletion failed half-way.")
    insert_shelved(context, row, image_id=command.image_id, user_id=command.user_id)
    begun = {"deadline_ms": command.deadline_ms, "request_id": command.request_id}
    write_server(context, row, new_work(row, TaskState.SHELVING, **begun))
    return {"hosts": [row.host_id]}


@handles(ServerShelved, lambda command: command.server_id)
def server_is_saved(context: ApplyContext, command: ServerShelved) -> Result:
    """One entry: before it the disk is all there is, after it the image is."""
    row = need_server(context, command.server_id)
    need_own(row, command.host_id)
    need_newest_work(row, command.generation)
    kept = shelved(context, row)
    if kept is None or row.task_state != TaskState.SHELVING_IMAGE_UPLOADING.value:
        reject("bad_state", f"Instance {row.server_id} is not being shelved.")
    if is_image(context, kept.image_id):
        reject("conflict", f"Image ID {kept.image_id} already exists!")
    _need_whole(command)
    save_image(context, row, kept, command)
    write_server(context, row, {**AT_REST, **NO_FAULT, **off_host(context, row)})
    return {"image_id": kept.image_id}


@handles(ServerUnshelve, lambda command: command.server_id)
def unshelve_server(context: ApplyContext, command: ServerUnshelve) -> Result:
    row = need_server(context, command.server_id)
    _need_at_rest(row, "unshelve", (VmState.SHELVED_OFFLOADED.value,))
    kept = shelved(context, row)
    image = None if kept is None else image_if_any(context, kept.image_id)
    if image is None or image.status != ImageStatus.ACTIVE.value:
        reject(
            "bad_state",
            f"Error during unshelve instance {row.server_id}: the image that it was shelved to is gone. "
            "All that can be done with it is to delete it.",
        )
    want_host(context, row.server_id, command.host_name)
    values = {
        "task_state": TaskState.UNSHELVING.value,
        "desired": Desired.RUNNING.value,
        "deadline_ms": command.deadline_ms,
        "request_id": command.request_id,
        **NO_FAULT,
    }
    if command.changes_zone:
        values["zone_wanted"] = command.zone
    write_server(context, row, values)
    return {"unplaced": True}


def _need_whole(command: ServerShelved) -> None:
    """A host may be a stolen one: what it says becomes an image that others fetch by that address."""
    sums = ((command.md5, 32), (command.sha256, 64), (command.sha512, 128))
    if not all(len(text) == count and _HEX.issuperset(text) for text, count in sums):
        reject("invalid", "md5, sha256 and sha512 must be lower-case hexadecimal digests.")
    if not (0 <= command.size_bytes <= SIZE_MAX and 0 <= command.virtual_bytes <= SIZE_MAX):
        reject("invalid", f"size_bytes and virtual_bytes must be 0 to {SIZE_MAX}.")


def _need_at_rest(row: AnyRow, action: str, states: frozenset[str] | tuple[str, ...]) -> None:
    what = f"Cannot '{action}' instance {row.server_id} while it is in"
    if row.vm_state not in states:
        reject("bad_state", f"{what} vm_state {row.vm_state}")
    if row.task_state is not None:
        reject("busy", f"{what} task_state {row.task_state}")
