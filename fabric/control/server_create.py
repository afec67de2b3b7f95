"""`POST /servers`: everything the request names is resolved and checked here, then proposed.

What `apply` must judge again (quota, addresses, the flavor's numbers) it does; what can only be judged
from several objects (image against flavor, zone, networks) is judged here.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, ControlError, InvalidError, NotFoundError, QuotaError
from fabric.control.explanations import snapshot_of
from fabric.control.flavors import visible_flavor
from fabric.control.propose import propose
from fabric.control.scheduler_hints import Wishes, resolve_wishes
from fabric.control.server_networks import NetworkWish, NicPlan, draw_ports, plan_nics
from fabric.control.servers import check_metadata_quota
from fabric.control.services import hosts_by_name
from fabric.control.zones import usable_zones
from fabric.core.catalog.model import Flavor, Keypair
from fabric.core.catalog.queries import GetKeypair
from fabric.core.images.model import Image, ImageStatus
from fabric.core.images.queries import GetImage
from fabric.core.placement.cpu_policy import cpu_fault
from fabric.core.placement.resources import CPU_POLICY, MIXED, MIXED_LEVEL
from fabric.core.quotas.demand import demand_of, exceeded, fitting
from fabric.core.quotas.model import GetQuotas
from fabric.core.servers.states import Verb
from fabric.core.topology.wish import topology_fault
from fabric.core.voters.levels import GetLevel
from fabric.errors import CommandRejectedError
from fabric.runtime.hard_state import derive_request_id
from proto.commands.servers import ServerAct, ServerCreate, ServerCreateHinted
from proto.ids import ImageId, ProjectId, ServerId, new_uuid

ADDRESS_ATTEMPTS_MAX = 10  # draws of addresses for one server; each sees the newest rows
MULTI_CREATE_MAX = 1_000  # servers in one request, whatever the quota
_GIB = 1 << 30
_PASSWORD_CHARS = 12  # Nova's password_length
_HOSTNAME_CHARS_MAX = 63  # RFC 1123, one label
_PASSWORD_ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1Il")))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewServer:
    """A create request in our terms, its form already checked. `zone` may be "zone:host"."""

    name: str
    image_ref: str
    flavor_ref: str
    networks: NetworkWish = field(default_factory=NetworkWish)
    key_name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    user_data: bytes | None = None
    config_drive: bool = False
    zone: str | None = None
    host: str | None = None
    hypervisor_hostname: str | None = None
    admin_pass: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    hostname: str | None = None
    hints: Mapping[str, object] = field(default_factory=dict)  # any JSON values
    min_count: int = 1
    max_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedServers:
    server_ids: tuple[ServerId, ...]
    reservation_id: str
    admin_pass: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What all servers of one request share."""

    wish: NewServer
    project_id: ProjectId
    flavor: Flavor
    image: Image
    keypair: Keypair | None
    nics: NicPlan
    zone: str | None
    host_name: str | None
    wishes: Wishes
    admin_pass: str
    reservation_id: str


async def create_servers(cloud: Cloud, caller: Caller, wish: NewServer) -> CreatedServers:
    """Makes between `min_count` and `max_count` servers, as the quota allows; fewer than `min_count` is
    refused and leaves none behind. Durable when it returns; hosts are chosen afterwards.

    Raises: InvalidError (something named does not exist or does not fit), ForbiddenError, QuotaError,
    ConflictError (ambiguous network, port in use, no address left), UnavailableError.
    """
    policy.require(caller, "compute:servers:create")
    plan = await _plan(cloud, caller, wish)
    count = await _count_allowed(cloud, caller, plan)
    made: list[ServerId] = []
    try:
        for number in range(count):
            made.append(await _create_one(cloud, caller, plan, number, count))
    except QuotaError:
        if len(made) < wish.min_count:  # others were faster to the last of the quota
            await _undo(cloud, caller, made)
            raise
    except ControlError:
        await _undo(cloud, caller, made)
        raise
    return CreatedServers(
        server_ids=tuple(made), reservation_id=plan.reservation_id, admin_pass=plan.admin_pass
    )


async def _plan(cloud: Cloud, caller: Caller, wish: NewServer) -> _Plan:
    """In Nova's order of checks: networks before the key (CLIENTS.md)."""
    if wish.min_count > wish.max_count:
        raise InvalidError("min_count must be <= max_count")
    if wish.max_count > MULTI_CREATE_MAX:
        raise InvalidError(f"max_count: at most {MULTI_CREATE_MAX} servers can be made by one request.")
    project_id = policy.owner_of_new(caller)
    image = await _bootable_image(cloud, caller, wish.image_ref)
    flavor = await _flavor(cloud, caller, wish.flavor_ref)
    _check_fit(image, flavor)
    if flavor.extra_specs.get(CPU_POLICY) == MIXED and await cloud.state.read(GetLevel()) < MIXED_LEVEL:
        raise InvalidError(
            f"The CPU policy mixed needs level {MIXED_LEVEL} of the fabric; it is not there yet."
        )
    zone, host_name = await _destination(cloud, caller, wish)
    wishes = await resolve_wishes(cloud, project_id, wish.hints)
    nics = await plan_nics(cloud, caller, project_id, wish.networks)
    if wish.max_count > 1 and nics.is_single_use:
        raise InvalidError(
            "Unable to launch multiple instances with a single configured port ID or fixed IP."
        )
    keypair = await _keypair(cloud, caller, wish.key_name)
    await check_metadata_quota(cloud, project_id, wish.metadata)
    return _Plan(
        wish=wish,
        project_id=project_id,
        flavor=flavor,
        image=image,
        keypair=keypair,
        nics=nics,
        zone=zone,
        host_name=host_name,
        wishes=wishes,
        admin_pass=wish.admin_pass or _generate_password(),
        reservation_id=f"r-{secrets.token_hex(4)}",
    )


async def _create_one(cloud: Cloud, caller: Caller, plan: _Plan, number: int, count: int) -> ServerId:
    """Draws addresses and MACs and proposes; draws again when somebody else has one of them."""
    server_id = ServerId(new_uuid())
    for attempt in range(ADDRESS_ATTEMPTS_MAX):
        command = await _command(cloud, caller, plan, server_id, number, count)
        try:
            await propose(
                cloud, command, request_id=derive_request_id(caller.request_id, f"create/{number}/{attempt}")
            )
            return server_id
        except CommandRejectedError as error:
            is_drawn = error.reason == "address_taken" and plan.nics.draws_addresses
            if not (is_drawn or error.reason == "mac_taken"):  # MACs of new ports always are
                raise ConflictError(error.message) from error
    raise ConflictError(
        f"No free address could be had in {ADDRESS_ATTEMPTS_MAX} attempts: many servers are being made on "
        "the same network. Nothing was changed; try again."
    )


async def _command(
    cloud: Cloud, caller: Caller, plan: _Plan, server_id: ServerId, number: int, count: int
) -> ServerCreate:
    wish, keypair = plan.wish, plan.keypair
    ports = await draw_ports(cloud, plan.nics)
    suffix = f"-{number + 1}" if count > 1 else ""
    command = ServerCreate(
        server_id=server_id,
        project_id=plan.project_id,
        user_id=caller.user_id,
        request_id=caller.request_id,
        name=wish.name + suffix,
        hostname=_hostname(wish, suffix, server_id),
        flavor_id=plan.flavor.flavor_id,
        image_id=plan.image.image_id,
        zone=plan.zone,
        host_name=plan.host_name,
        key_name=keypair.name if keypair else None,
        key_type=keypair.key_type if keypair else "ssh",
        public_key=keypair.public_key if keypair else None,
        user_data=wish.user_data,
        admin_pass=plan.admin_pass,
        metadata=dict(wish.metadata),
        tags=wish.tags,
        description=wish.description,
        config_drive=wish.config_drive,
        new_ports=ports.new,
        existing_port_ids=ports.existing,
        port_order=ports.order,
        launch_index=number,
        reservation_id=plan.reservation_id,
        deadline_ms=cloud.clock.wall_ms() + cloud.build_deadline_ms,
    )
    return _hinted(command, plan.wishes) if plan.wishes else command


def _hinted(command: ServerCreate, wishes: Wishes) -> ServerCreateHinted:
    same = {each.name: getattr(command, each.name) for each in fields(command)}
    return ServerCreateHinted(**same, group_id=wishes.group_id, hints=wishes.hints)


async def _undo(cloud: Cloud, caller: Caller, made: list[ServerId]) -> None:
    for server_id in made:
        command = ServerAct(
            server_id=server_id,
            verb=Verb.DELETE.value,
            request_id=caller.request_id,
            deadline_ms=cloud.clock.wall_ms() + cloud.action_deadline_ms,
        )
        try:
            await propose(
                cloud, command, request_id=derive_request_id(caller.request_id, f"undo/{server_id}")
            )
        except NotFoundError:
            continue


async def _count_allowed(cloud: Cloud, caller: Caller, plan: _Plan) -> int:
    """How many of a multi-create fit the quota now, the project's and what its user may take of it. A single
    server is left to `apply`."""
    wish, flavor = plan.wish, plan.flavor
    if wish.max_count == 1:
        return 1
    allowed = wish.max_count
    for user_id in (None, caller.user_id):
        quotas = await cloud.state.read(GetQuotas(project_id=plan.project_id, user_id=user_id))
        each = demand_of(
            quotas.limits,
            vcpus=flavor.vcpus,
            memory_mb=flavor.memory_mb,
            root_gb=flavor.root_gb,
            ephemeral_gb=flavor.ephemeral_gb,
            swap_mb=flavor.swap_mb,
            extra_specs=flavor.extra_specs,
        )
        least = {resource: amount * wish.min_count for resource, amount in each.items()}
        message = exceeded(quotas.limits, quotas.used, least)
        if message is not None:
            raise QuotaError(message)
        allowed = min(allowed, fitting(quotas.limits, quotas.used, each, at_most=allowed))
    return allowed


async def _bootable_image(cloud: Cloud, caller: Caller, image_ref: str) -> Image:
    image = await cloud.state.read(GetImage(image_id=ImageId(image_ref)))
    if image is None or not (
        image.visibility in ("public", "community") or policy.can_see(caller, image.project_id)
    ):
        raise InvalidError(f"imageRef: Image {image_ref} could not be found.")
    if image.status is not ImageStatus.ACTIVE:
        raise InvalidError(f"Image {image_ref} is not active.")
    return image


async def _flavor(cloud: Cloud, caller: Caller, flavor_ref: str) -> Flavor:
    try:
        return await visible_flavor(cloud, caller, flavor_ref)
    except NotFoundError as error:
        raise InvalidError(f"flavorRef: {error.message}") from error


def _check_fit(image: Image, flavor: Flavor) -> None:
    """Source: Nova's messages. A root disk of 0 GB is as large as the image."""
    if (fault := cpu_fault(flavor.vcpus, flavor.extra_specs, image.properties)) is not None:
        raise InvalidError(fault)
    if (fault := topology_fault(snapshot_of(flavor), image.properties)) is not None:
        raise InvalidError(fault)
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


async def _keypair(cloud: Cloud, caller: Caller, key_name: str | None) -> Keypair | None:
    if key_name is None:
        return None
    keypair = await cloud.state.read(GetKeypair(user_id=caller.user_id, name=key_name))
    if keypair is None:
        raise InvalidError("Invalid key_name provided.")
    return keypair


async def _destination(cloud: Cloud, caller: Caller, wish: NewServer) -> tuple[str | None, str | None]:
    """(zone, host name) out of `availability_zone`, `host` and `hypervisor_hostname`. The zone is pinned to
    the server; none asked for is none pinned."""
    zone, in_zone = _split_zone(wish.zone or "")
    named = wish.host or wish.hypervisor_hostname
    if in_zone is not None:
        policy.require(caller, "compute:servers:create_forced_host")
    if named is not None:
        policy.require(caller, "compute:servers:create_requested_destination")
        if in_zone is not None:
            raise InvalidError(
                "One mechanism with host and/or hypervisor_hostname and another mechanism with "
                "zone:host:node are mutually exclusive."
            )
        _need_one_name(wish.host, wish.hypervisor_hostname)
    hosts = await hosts_by_name(cloud)
    host_name = in_zone or named
    if host_name is not None and host_name not in hosts:
        raise InvalidError(f"Compute host {host_name} could not be found.")
    if in_zone is not None and zone is not None:
        return hosts[
            in_zone
        ].zone, in_zone  # the zone beside a forced host is at most a mistake. Source: Nova
    if zone is not None and zone not in usable_zones(hosts.values()):
        raise InvalidError("The requested availability zone is not available")
    return zone, host_name


def _split_zone(text: str) -> tuple[str | None, str | None]:
    """Nova's "zone:host" and "zone:host:node"; any part may be empty. Raises: InvalidError."""
    zone, *rest = text.split(":")
    if len(rest) > 2:
        raise InvalidError(
            "Unable to parse availability_zone: write it as zone, zone:host or zone:host:node."
        )
    host, node = [*rest, "", ""][:2]
    _need_one_name(host, node)
    return zone or None, host or node or None


def _need_one_name(host: str | None, node: str | None) -> None:
    """A host and its hypervisor are one here. Raises: InvalidError."""
    if host and node and host != node:
        raise InvalidError(f"Compute host {host} has no hypervisor {node}.")


def _hostname(wish: NewServer, suffix: str, server_id: ServerId) -> str:
    base = wish.hostname if wish.hostname is not None else sanitized_hostname(wish.name)
    if not base:
        return f"server-{server_id}"
    if "." in base:  # a full name (2.94): the number belongs to its first label
        label, dot, domain = base.partition(".")
        return f"{label}{suffix}{dot}{domain}"
    return f"{base[: _HOSTNAME_CHARS_MAX - len(suffix)]}{suffix}"


def sanitized_hostname(name: str) -> str:
    """A server's name as a guest's host name, "" when nothing of it can be kept. Source: Nova."""
    text = re.sub(r"[ _.]", "-", name.encode("ascii", "ignore").decode())
    text = re.sub(r"[^\w-]+", "", text).lower().strip("-")
    return text[:_HOSTNAME_CHARS_MAX].rstrip("-")


def _generate_password() -> str:
    return "".join(secrets.choice(_PASSWORD_ALPHABET) for _ in range(_PASSWORD_CHARS))
