"""The servers of a create request as commands: one, or up to a hundred in one, of which all are made or none.

Quotas are `apply`'s to judge. How many of a multi-create fit is only guessed here: others may be faster, and
then it is guessed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, ControlError, NotFoundError, QuotaError
from fabric.control.propose import propose
from fabric.control.server_naming import hostname_of
from fabric.control.server_networks import DrawnPorts, draw_ports
from fabric.control.server_wish import CreatePlan
from fabric.core.quotas.demand import demand_of, exceeded, fitting
from fabric.core.quotas.model import UNLIMITED, GetQuotas
from fabric.core.servers.states import Verb
from fabric.core.voters.levels import GetLevel
from fabric.errors import CommandRejectedError
from fabric.runtime.hard_state import derive_request_id
from proto.commands.networks import FixedIpChoice
from proto.commands.servers import Alike, ServerAct, ServerCreate, ServerCreateAlike, ServerCreateHinted
from proto.ids import ServerId, new_uuid

DRAWS_MAX = 10  # of addresses for one command; each sees the newest rows
QUOTA_RACES_MAX = 10  # lost to other creates of the project
SERVERS_MAX, PORTS_MAX = 100, 200  # in one command: it has to fit an entry of the log, with its user data


@dataclass(frozen=True, slots=True)
class _Own:
    """What a server shares with no other of its request."""

    server_id: ServerId
    name: str
    hostname: str
    ports: DrawnPorts


async def propose_servers(cloud: Cloud, caller: Caller, plan: CreatePlan) -> tuple[ServerId, ...]:
    """Makes between `min_count` and `max_count`, as the quota allows; fewer than `min_count` is refused and
    leaves none behind. Durable when it returns.

    Raises: QuotaError, ConflictError (no address left), UnavailableError, whatever `apply` rejects by.
    """
    wish = plan.wish
    if wish.max_count == 1:
        return await _propose(cloud, caller, plan, range(1), of=1, race=0)
    at_once = await _at_once(cloud, plan)
    count = await _fitting(cloud, caller, plan, least=wish.min_count)
    named_of, races = count, 0
    made: list[ServerId] = []
    try:
        while len(made) < count:
            numbers = range(len(made), min(len(made) + at_once, count))
            try:
                made += await _propose(cloud, caller, plan, numbers, of=named_of, race=races)
            except QuotaError:  # others were faster
                races += 1
                least = wish.min_count - len(made)
                if races == QUOTA_RACES_MAX and least > 0:
                    raise
                if races == QUOTA_RACES_MAX:
                    break
                count = min(count, len(made) + await _fitting(cloud, caller, plan, least=max(0, least)))
    except ControlError:
        await _undo(cloud, caller, made)
        raise
    return tuple(made)


async def _at_once(cloud: Cloud, plan: CreatePlan) -> int:
    """How many servers one command makes."""
    if await cloud.state.read(GetLevel()) < ServerCreateAlike.LEVEL:
        return 1
    return max(1, min(SERVERS_MAX, PORTS_MAX // max(1, plan.nics.new_ports)))


async def _propose(
    cloud: Cloud, caller: Caller, plan: CreatePlan, numbers: range, *, of: int, race: int
) -> tuple[ServerId, ...]:
    """Draws addresses and MACs and proposes; draws again when somebody else has one of them."""
    server_ids = tuple(ServerId(new_uuid()) for _ in numbers)
    for attempt in range(DRAWS_MAX):
        owns: list[_Own] = []
        taken: frozenset[FixedIpChoice] = frozenset()
        for number, server_id in zip(numbers, server_ids, strict=True):
            ports = await draw_ports(cloud, plan.nics, taken)
            taken |= {choice for spec in ports.new for choice in spec.fixed_ips}
            suffix = f"-{number + 1}" if of > 1 else ""
            hostname = hostname_of(plan.wish.name, plan.wish.hostname, suffix, server_id)
            owns.append(_Own(server_id, plan.wish.name + suffix, hostname, ports))
        command = _command(cloud, caller, plan, owns, numbers.start)
        part = derive_request_id(caller.request_id, f"create/{numbers.start}/{race}/{attempt}")
        try:
            await propose(cloud, command, request_id=part)
            return server_ids
        except CommandRejectedError as error:
            is_drawn = error.reason == "address_taken" and plan.nics.draws_addresses
            if not (is_drawn or error.reason == "mac_taken"):  # MACs of new ports always are
                raise ConflictError(error.message) from error
    raise ConflictError(
        f"No free address could be had in {DRAWS_MAX} attempts: many servers are being made on the same "
        "network. Nothing was changed; try again."
    )


def _command(
    cloud: Cloud, caller: Caller, plan: CreatePlan, owns: Sequence[_Own], first_number: int
) -> ServerCreate:
    wish, keypair, wishes = plan.wish, plan.keypair, plan.wishes
    first, *others = owns
    command = ServerCreate(
        server_id=first.server_id,
        project_id=plan.project_id,
        user_id=caller.user_id,
        request_id=caller.request_id,
        name=first.name,
        hostname=first.hostname,
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
        new_ports=first.ports.new,
        existing_port_ids=first.ports.existing,
        port_order=first.ports.order,
        launch_index=first_number,
        reservation_id=plan.reservation_id,
        deadline_ms=cloud.clock.wall_ms() + cloud.build_deadline_ms,
    )
    if not (others or wishes):
        return command
    same = {each.name: getattr(command, each.name) for each in fields(command)}
    same |= {"group_id": wishes.group_id, "hints": wishes.hints}
    if not others:
        return ServerCreateHinted(**same)
    return ServerCreateAlike(**same, others=tuple(_alike(own) for own in others))


def _alike(own: _Own) -> Alike:
    return Alike(
        server_id=own.server_id,
        name=own.name,
        hostname=own.hostname,
        new_ports=own.ports.new,
        port_order=own.ports.order,
    )


async def _undo(cloud: Cloud, caller: Caller, made: Sequence[ServerId]) -> None:
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


async def _fitting(cloud: Cloud, caller: Caller, plan: CreatePlan, *, least: int) -> int:
    """How many servers of the request fit the quota now, the project's and what its user may take of it.
    Raises QuotaError when it is less than `least`."""
    wish, flavor, new_ports = plan.wish, plan.flavor, plan.nics.new_ports
    fit = wish.max_count
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
        needed = {resource: amount * least for resource, amount in each.items()}
        message = exceeded(quotas.limits, quotas.used, needed)
        if message is not None:
            raise QuotaError(message)
        fit = min(fit, fitting(quotas.limits, quotas.used, each, at_most=fit))
        if new_ports and user_id is None and quotas.limits["port"] != UNLIMITED:
            fit = min(fit, fitting(quotas.limits, quotas.used, {"port": new_ports}, at_most=fit))
            if fit < least:
                raise QuotaError("Maximum number of ports exceeded")
    return fit
