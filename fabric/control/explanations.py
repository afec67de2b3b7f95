"""Why a server is where it is, why it is nowhere, why not on some host; and the same of one not yet made.

The core decides again, by what this node's rows and membership table hold now; a server that has a host
counts as if it was nowhere. Nothing is stored and nothing is changed. What the scheduler alone knows (builds
that failed a moment ago, before their host said so) is not known here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fabric.control import policy, servers
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ForbiddenError, InvalidError, NotFoundError
from fabric.control.flavors import visible_flavor
from fabric.control.image_fit import check_fit
from fabric.control.scheduler_hints import resolve_wishes
from fabric.core.catalog.model import Flavor
from fabric.core.catalog.queries import ListFlavors
from fabric.core.identity.queries import GetProject
from fabric.core.images.model import Image, ImageStatus
from fabric.core.images.queries import GetImage, ImageFilter, ListImages
from fabric.core.moves.model import Move
from fabric.core.moves.queries import ListMoves, MoveFilter
from fabric.core.placement.busy import is_busy
from fabric.core.placement.choose import choose, claim
from fabric.core.placement.explain import Explanation
from fabric.core.placement.explain import explain as explain_by
from fabric.core.placement.explain import why_not as why_not_by
from fabric.core.placement.hint_readers import unread_hints
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.queries import GetPlacementRequest
from fabric.core.placement.request import NO_IMAGE, GroupWish, PlacementRequest
from fabric.core.queries import BadFilterError, Page
from fabric.core.server_groups.model import GroupPolicy, ServerGroup
from fabric.core.server_groups.queries import GetServerGroup
from fabric.core.servers.model import FlavorSnapshot, Server
from fabric.core.servers.queries import ListServers, ServerFilter
from fabric.runtime.host_view import read_table
from proto.ids import FlavorId, ImageId, LogIndex, ProjectId, ServerGroupId, ServerId, is_uuid

COUNT_MAX = 1_000  # as many as one request can make
NOBODY = ServerId("00000000-0000-0000-0000-000000000000")  # so that equal hosts are told in one order
NO_FLAVOR = FlavorId("")
NO_PROJECT = ProjectId("")  # hosts that are kept for some projects take nothing of it
_NAMESAKES_MAX = 8  # told, for one of them to be chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`explanation`, by the rows as of `index`. `server`: the one asked about; None: none is there yet.
    `fit`: of `count` asked for together, how many go where, by host's name. `unread_hints`: that no filter in
    force reads. `last_move`: the server's newest, if it has ended badly."""

    explanation: Explanation
    index: LogIndex
    time_ms: int
    server: Server | None = None
    host_name: str | None = None  # the one asked about; None: all
    count: int = 1
    fit: Mapping[str, int] = field(default_factory=dict)
    unread_hints: tuple[str, ...] = ()
    last_move: Move | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineFlavor:
    """A size that no flavor has."""

    vcpus: int
    memory_mb: int
    root_gb: int = 0
    ephemeral_gb: int = 0
    swap_mb: int = 0
    extra_specs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A request not yet made. `flavor`: an id, a name, or a size; `image`: an id or a name; `project_id`:
    whose it would be, the caller's own if None. `hints`: any JSON values, `group` among them."""

    flavor: str | InlineFlavor
    image: str | None = None
    zone: str | None = None
    host_name: str | None = None
    hints: Mapping[str, object] = field(default_factory=dict)
    project_id: ProjectId | None = None
    count: int = 1


async def why(cloud: Cloud, caller: Caller, server_id: str) -> Answer:
    """Raises: NotFoundError (also for other projects' servers), ForbiddenError."""
    policy.require(caller, "fabric:servers:why")
    view = await servers.find(cloud, caller, server_id)
    request, table, index = await _of_server(cloud, view.server)
    explanation = await asyncio.to_thread(explain_by, request, table, cloud.placement)
    return Answer(
        explanation=explanation,
        index=index,
        time_ms=cloud.clock.wall_ms(),
        server=view.server,
        unread_hints=unread_hints(request, cloud.placement),
        last_move=await _failed_move(cloud, view.server),
    )


async def why_not(cloud: Cloud, caller: Caller, server_id: str, host: str) -> Answer:
    """`host`: its name or id. Admins alone may know which hosts there are.

    Raises: NotFoundError (no such server or host), ForbiddenError.
    """
    view = await servers.find(cloud, caller, server_id)
    policy.require(caller, "fabric:servers:why_not")
    request, table, index = await _of_server(cloud, view.server)
    if view.server.host_id is not None:  # whom its create named binds no move
        request = replace(request, host_name=None)
    place = next(
        (place for place, facts in enumerate(table.hosts) if host in (facts.host.name, facts.host.host_id)),
        None,
    )
    if place is None:
        raise NotFoundError(f"Compute host {host[:64]} could not be found.")
    explanation = await asyncio.to_thread(why_not_by, request, table, cloud.placement, place)
    return Answer(
        explanation=explanation,
        index=index,
        time_ms=cloud.clock.wall_ms(),
        server=view.server,
        host_name=table.hosts[place].host.name,
        unread_hints=unread_hints(request, cloud.placement),
    )


async def explain(cloud: Cloud, caller: Caller, wish: Wish) -> Answer:
    """Raises: InvalidError naming the field, ForbiddenError."""
    policy.require(caller, "fabric:requests:explain")
    request = await _request(cloud, caller, wish)
    table, index = await _look(cloud, request)
    _check_place(request, table)
    explanation, fit = await asyncio.to_thread(_explained, cloud, request, table, wish.count)
    return Answer(
        explanation=explanation,
        index=index,
        time_ms=cloud.clock.wall_ms(),
        count=wish.count,
        fit=fit,
        unread_hints=unread_hints(request, cloud.placement),
    )


async def find_server(cloud: Cloud, caller: Caller, text: str) -> ServerId:
    """By id, or by a name that no other server has. Raises: NotFoundError, InvalidError (several)."""
    if is_uuid(text):
        return (await servers.find(cloud, caller, text)).server.server_id
    wanted = ServerFilter(name_regex=f"^{re.escape(text)}$", project_id=policy.visible_to(caller))
    try:
        views = await cloud.state.read(ListServers(filter=wanted, page=Page(limit=_NAMESAKES_MAX)))
    except BadFilterError:  # longer than any name
        views = ()
    found = [view.server.server_id for view in views if view.server.name == text]
    if not found:
        raise NotFoundError(f"No server has the name or id {text[:255]!r}.")
    if len(found) > 1:
        raise InvalidError(f"Several servers are named {text!r}; name one by its id: {', '.join(found)}.")
    return found[0]


# ---- what is looked at


async def _of_server(cloud: Cloud, server: Server) -> tuple[PlacementRequest, HostTable, LogIndex]:
    request = await cloud.state.read(GetPlacementRequest(server_id=server.server_id))
    if request is None:
        raise NotFoundError(f"Instance {server.server_id} could not be found.")
    index = cloud.state.applied_index
    table = await _kept_without(cloud, server, request)
    if table is None:
        table = await read_table(cloud.state, cloud.fleet, [request], except_server=server.server_id)
    return request, table, index


async def _failed_move(cloud: Cloud, server: Server) -> Move | None:
    newest = await cloud.state.read(ListMoves(filter=MoveFilter(server_id=server.server_id), limit=1))
    return newest[0] if newest and newest[0].message and not newest[0].is_open else None


async def _kept_without(cloud: Cloud, server: Server, request: PlacementRequest) -> HostTable | None:
    """The kept table, as if that server was nowhere. None: there is none, or the server changed meanwhile, so
    that it is not known whether the table counts it."""
    if cloud.table is None or request.generation != server.generation:
        return None
    table = await cloud.table.copy([request], read=server.host_id)
    again = await cloud.state.read(GetPlacementRequest(server_id=server.server_id))
    if again is None or again.generation != server.generation:
        return None
    if server.host_id in table.place:
        table.release(
            server.host_id,
            request.resources.total(),
            server_id=server.server_id,
            group_id=None if request.group is None else request.group.group_id,
            is_building=is_busy(server.vm_state, server.task_state),
        )
    return table


async def _look(cloud: Cloud, request: PlacementRequest) -> tuple[HostTable, LogIndex]:
    """The index is one that the rows had before they were read: they are at least as new."""
    index = cloud.state.applied_index
    if cloud.table is not None:
        return await cloud.table.copy([request]), index
    return await read_table(cloud.state, cloud.fleet, [request]), index


def _explained(
    cloud: Cloud, request: PlacementRequest, table: HostTable, count: int
) -> tuple[Explanation, Mapping[str, int]]:
    explanation = explain_by(request, table, cloud.placement)
    fit: dict[str, int] = {}
    for number in range(count):
        each = replace(request, server_id=ServerId(f"{NOBODY[:-4]}{number:04}"))
        choice = choose(each, table, cloud.placement)
        if choice is None:
            break  # nor would the next, which asks for the same
        claim(each, choice.host_id, table)
        name = table.hosts[table.place[choice.host_id]].host.name
        fit[name] = fit.get(name, 0) + 1
    return explanation, fit


# ---- a request not yet made


async def _request(cloud: Cloud, caller: Caller, wish: Wish) -> PlacementRequest:
    group = await _group(cloud, wish)
    project_id = wish.project_id or caller.project_id
    if project_id is None:  # an operator, who is of no project
        project_id = NO_PROJECT if group is None else group.project_id
    if project_id != caller.project_id and not caller.is_admin:
        raise ForbiddenError("project_id: only admins may ask for another project than their token's.")
    if wish.project_id is not None and await cloud.state.read(GetProject(project_id=project_id)) is None:
        raise InvalidError(f"project_id: Project ID {project_id[:64]} is not a valid project.")
    if wish.host_name is not None:
        policy.require(caller, "compute:servers:create_forced_host")
    flavor = await _snapshot(cloud, caller, wish.flavor)
    image = None if wish.image is None else await _image(cloud, caller, wish.image)
    check_fit(flavor, image)
    wishes = await resolve_wishes(cloud, project_id, wish.hints)
    return PlacementRequest(
        server_id=NOBODY,
        project_id=project_id,
        flavor=flavor,
        image_id=NO_IMAGE if image is None else image.image_id,
        image_sha256="" if image is None else image.sha256 or "",
        image_properties={} if image is None else image.properties,
        zone=wish.zone,
        host_name=wish.host_name,
        hints={
            name: tuple(map(str, value)) if isinstance(value, list) else (str(value),)
            for name, value in wishes.hints.items()
        },
        group=None if group is None else _wish_of(group),
    )


async def _group(cloud: Cloud, wish: Wish) -> ServerGroup | None:
    """The one that the hint names, whoever's it is: `resolve_wishes` judges that."""
    named = wish.hints.get("group")
    named = named[0] if isinstance(named, list) and named else named
    return (
        await cloud.state.read(GetServerGroup(group_id=ServerGroupId(str(named).lower()))) if named else None
    )


def _wish_of(group: ServerGroup) -> GroupWish:
    return GroupWish(
        group_id=group.group_id,
        policy=GroupPolicy(group.policy),
        max_server_per_host=group.max_server_per_host or 1,
    )


def _check_place(request: PlacementRequest, table: HostTable) -> None:
    """In Nova's words."""
    zones = {table.zone(place) for place, facts in enumerate(table.hosts) if facts.host.enabled}
    if request.zone is not None and request.zone not in zones:
        raise InvalidError("availability_zone: The requested availability zone is not available")
    if request.host_name is not None and all(f.host.name != request.host_name for f in table.hosts):
        raise InvalidError(f"host: Compute host {request.host_name[:64]} could not be found.")


async def find_flavor(cloud: Cloud, caller: Caller, text: str) -> Flavor:
    """By id or name. Raises: InvalidError."""
    try:
        return await visible_flavor(cloud, caller, text)
    except NotFoundError:
        query = ListFlavors(visible_to=policy.visible_to(caller), is_public=None)
        for flavor in await cloud.state.read(query):
            if flavor.name == text:
                return flavor
        raise InvalidError(f"flavor: Flavor {text[:64]} could not be found.") from None


def snapshot_of(flavor: Flavor) -> FlavorSnapshot:
    return FlavorSnapshot(
        flavor_id=flavor.flavor_id,
        name=flavor.name,
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        root_gb=flavor.root_gb,
        ephemeral_gb=flavor.ephemeral_gb,
        swap_mb=flavor.swap_mb,
        extra_specs=flavor.extra_specs,
    )


async def _snapshot(cloud: Cloud, caller: Caller, wanted: str | InlineFlavor) -> FlavorSnapshot:
    if isinstance(wanted, str):
        return snapshot_of(await find_flavor(cloud, caller, wanted))
    if wanted.extra_specs and not caller.is_admin:
        # capabilities, traits and metadata of hosts could be read with them, one question after the other
        raise ForbiddenError("flavor.extra_specs: only admins may make up their own; name a flavor instead.")
    return FlavorSnapshot(
        flavor_id=NO_FLAVOR,
        name="",
        vcpus=wanted.vcpus,
        memory_mb=wanted.memory_mb,
        root_gb=wanted.root_gb,
        ephemeral_gb=wanted.ephemeral_gb,
        swap_mb=wanted.swap_mb,
        extra_specs=wanted.extra_specs,
    )


async def _image(cloud: Cloud, caller: Caller, text: str) -> Image:
    """By id, or by a name that no other image has which the caller sees. Raises: InvalidError."""
    if is_uuid(text):
        image = await cloud.state.read(GetImage(image_id=ImageId(text)))
        found = [] if image is None or not _is_visible(caller, image) else [image]
    else:
        named = ImageFilter(names=(text,), visible_to=policy.visible_to(caller))
        found = list(await cloud.state.read(ListImages(filter=named, page=Page(limit=2))))
    if len(found) != 1:
        many = f"several images are named {text[:64]!r}; name one by its id."
        raise InvalidError(f"image: {many}" if found else f"image: Image {text[:64]} could not be found.")
    if found[0].status is not ImageStatus.ACTIVE:
        raise InvalidError(f"image: Image {text[:64]} is not active.")
    return found[0]


def _is_visible(caller: Caller, image: Image) -> bool:
    return image.visibility in ("public", "community") or policy.can_see(caller, image.project_id)
