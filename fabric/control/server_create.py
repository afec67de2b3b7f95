"""`POST /servers`: everything the request names is resolved and checked here, then proposed.

What `apply` must judge again (quota, addresses, the flavor's numbers) it does; what can only be judged
from several objects (image against flavor, zone, networks) is judged here.
"""

from __future__ import annotations

import secrets
import string

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError, NotFoundError
from fabric.control.explanations import snapshot_of
from fabric.control.flavors import visible_flavor
from fabric.control.image_fit import check_fit
from fabric.control.scheduler_hints import resolve_wishes
from fabric.control.server_networks import plan_nics
from fabric.control.server_proposals import propose_servers
from fabric.control.server_wish import CreatedServers, CreatePlan, NewServer
from fabric.control.servers import check_metadata_quota
from fabric.control.services import hosts_by_name
from fabric.control.zones import usable_zones
from fabric.core.catalog.model import Flavor, Keypair
from fabric.core.catalog.queries import GetKeypair
from fabric.core.images.model import Image, ImageStatus
from fabric.core.images.queries import GetImage
from fabric.core.placement.resources import CPU_POLICY, MIXED, MIXED_LEVEL
from fabric.core.voters.levels import GetLevel
from proto.ids import ImageId

MULTI_CREATE_MAX = 1_000  # servers in one request, whatever the quota
_PASSWORD_CHARS = 12  # Nova's password_length
_PASSWORD_ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1Il")))


async def create_servers(cloud: Cloud, caller: Caller, wish: NewServer) -> CreatedServers:
    """Makes between `min_count` and `max_count` servers, as the quota allows; fewer than `min_count` is
    refused and leaves none behind. Durable when it returns; hosts are chosen afterwards.

    Raises: InvalidError (something named does not exist or does not fit), ForbiddenError, QuotaError,
    ConflictError (ambiguous network, port in use, no address left), UnavailableError.
    """
    policy.require(caller, "compute:servers:create")
    plan = await _plan(cloud, caller, wish)
    made = await propose_servers(cloud, caller, plan)
    return CreatedServers(server_ids=made, reservation_id=plan.reservation_id, admin_pass=plan.admin_pass)


async def _plan(cloud: Cloud, caller: Caller, wish: NewServer) -> CreatePlan:
    """In Nova's order of checks: networks before the key (CLIENTS.md)."""
    if wish.min_count > wish.max_count:
        raise InvalidError("min_count must be <= max_count")
    if wish.max_count > MULTI_CREATE_MAX:
        raise InvalidError(f"max_count: at most {MULTI_CREATE_MAX} servers can be made by one request.")
    project_id = policy.owner_of_new(caller)
    image = await _bootable_image(cloud, caller, wish.image_ref)
    flavor = await _flavor(cloud, caller, wish.flavor_ref)
    check_fit(snapshot_of(flavor), image)
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
    return CreatePlan(
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


def _generate_password() -> str:
    return "".join(secrets.choice(_PASSWORD_ALPHABET) for _ in range(_PASSWORD_CHARS))
