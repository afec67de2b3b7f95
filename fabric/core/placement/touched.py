"""What an applied entry may have changed of the host table: for whoever keeps one.

A command that is not named here may have changed everything: forgetting one costs a read of all hosts, never
a table that is wrong. `tests/property/test_kept_table.py` holds each kind against the real handlers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fabric.core.queries import AppliedEntry
from proto.commands import (
    Command,
    aggregates,
    catalog,
    identity,
    limits,
    log,
    moves,
    networks,
    nodes,
    providers,
    quotas,
    server_groups,
    servers,
    shelving,
)
from proto.ids import ImageId, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """Hosts whose facts, as rows give them, may be others now."""

    host_id: NodeId | None = None
    others: tuple[NodeId, ...] = ()  # where something is held for a server that moves
    holders_of: ImageId | None = None  # hosts that held this image
    is_all: bool = False  # any host; aggregates, too
    are_aggregates: bool = False


NOTHING = Touched()
ALL = Touched(is_all=True, are_aggregates=True)

# They write rows that no fact of a host is made of.
_NO_HOST: tuple[type[Command], ...] = (
    servers.ServerCreate,  # it has no host yet
    servers.ServerCreateHinted,
    servers.ServerCreateAlike,
    servers.ServerUnplaceable,  # nor ever
    shelving.ServerUnshelve,
    servers.ServerUpdate,
    servers.ServerPin,  # whom it binds is the server, and where it is stays
    server_groups.ServerGroupCreate,  # members are read with each look
    server_groups.ServerGroupDelete,
    catalog.FlavorCreate,  # servers have their sizes in their own rows
    catalog.FlavorUpdate,
    catalog.FlavorDelete,
    catalog.KeypairCreate,
    catalog.KeypairDelete,
    catalog.ImageCreate,
    catalog.ImageUpdate,
    identity.FabricInit,
    identity.ProjectCreate,
    identity.ProjectUpdate,
    identity.ProjectDelete,  # refused while there are servers
    identity.UserCreate,
    identity.UserUpdate,
    identity.UserDelete,
    identity.RoleCreate,
    identity.RoleDelete,
    identity.AssignmentGrant,
    identity.AssignmentRevoke,
    identity.AuthTokenRevoke,
    limits.RegisteredLimitsCreate,
    limits.RegisteredLimitUpdate,
    limits.RegisteredLimitDelete,
    limits.LimitsCreate,
    limits.LimitUpdate,
    limits.LimitDelete,
    quotas.QuotaSet,
    quotas.QuotaSetOf,
    quotas.QuotaReset,
    quotas.QuotaResetOf,
    quotas.QuotaClassSet,
    log.LogCompare,
    nodes.JoinTokenCreate,
    nodes.JoinTokenRevoke,
    nodes.NodeAdmit,
    nodes.NodeRenew,
    nodes.RoleHold,
    nodes.VoterWish,
    moves.MoveRunning,  # both ends hold what they held
    moves.MoveForce,
    networks.NetworkCreate,
    networks.NetworkUpdate,
    networks.NetworkDelete,
    networks.SubnetCreate,
    networks.SubnetUpdate,
    networks.SubnetDelete,
    networks.PortCreate,
    networks.PortUpdate,
    networks.PortDelete,
    networks.SecurityGroupCreate,
    networks.SecurityGroupUpdate,
    networks.SecurityGroupDelete,
    networks.SecurityRuleCreate,
    networks.SecurityRuleDelete,
    providers.ResourceClassCreate,  # names; who offers of them says so in an offer
    providers.ResourceClassRename,
    providers.ResourceClassDelete,
    providers.TraitCreate,
    providers.TraitDelete,
    providers.ProviderCreate,  # outsiders' providers: servers take nothing of them
    providers.ProviderUpdate,
    providers.ProviderDelete,
    providers.ProviderSet,
    providers.AllocationsSet,
    providers.ProvidersReshape,
)


def _host_of_command(entry: AppliedEntry) -> Touched:
    command: Any = entry.command
    return Touched(host_id=command.host_id)


def _host_of_result(entry: AppliedEntry) -> Touched:
    """None: the server is on no host."""
    if "host_id" not in entry.applied.result:
        return ALL
    host_id: Any = entry.applied.result["host_id"]
    return NOTHING if host_id is None else Touched(host_id=host_id)


def _hosts_of_result(entry: AppliedEntry) -> Touched:
    found: Any = entry.applied.result.get("hosts")
    return ALL if found is None else Touched(others=tuple(found))


def _with_others(known: Callable[[AppliedEntry], Touched]) -> Callable[[AppliedEntry], Touched]:
    """And the hosts at the other end of a move, if the command ended or furthered one."""

    def found(entry: AppliedEntry) -> Touched:
        others: Any = entry.applied.result.get("hosts", ())
        return replace(known(entry), others=tuple(others)) if others else known(entry)

    return found


def _host_of_aggregate(entry: AppliedEntry) -> Touched:
    """With the aggregate, its zone may have changed."""
    command: Any = entry.command
    return Touched(host_id=command.host_id, are_aggregates=True)


def _removed_host(entry: AppliedEntry) -> Touched:
    command: Any = entry.command
    return Touched(host_id=command.node_id, are_aggregates=True)


def _new_holder(entry: AppliedEntry) -> Touched:
    command: Any = entry.command
    return Touched(host_id=command.node_id)


def _holders(entry: AppliedEntry) -> Touched:
    command: Any = entry.command
    return Touched(holders_of=command.image_id)


_TOUCHED: dict[str, Callable[[AppliedEntry], Touched]] = {
    **{kind.KIND: lambda entry: NOTHING for kind in _NO_HOST},
    servers.ServerPlace.KIND: _host_of_command,
    servers.ServerObserved.KIND: _with_others(_host_of_command),
    servers.ServerRemoved.KIND: _host_of_command,
    servers.ServerAct.KIND: _with_others(_host_of_result),
    servers.ServerExpire.KIND: _with_others(_host_of_result),
    shelving.ServerShelve.KIND: _hosts_of_result,
    shelving.ServerShelved.KIND: _host_of_command,  # it holds the image, too
    moves.MoveBegin.KIND: _hosts_of_result,
    moves.MovePlace.KIND: _hosts_of_result,
    moves.MoveUnplaceable.KIND: _hosts_of_result,
    moves.MoveConfirm.KIND: _hosts_of_result,
    moves.MoveRevert.KIND: _hosts_of_result,
    moves.MoveArrived.KIND: _hosts_of_result,
    moves.MoveAbort.KIND: _hosts_of_result,
    nodes.HostRegister.KIND: _host_of_command,
    nodes.HostUpdate.KIND: _host_of_command,
    nodes.NodeRemove.KIND: _removed_host,
    nodes.NodeRename.KIND: _new_holder,
    providers.HostOffers.KIND: _host_of_command,
    catalog.ImageActivate.KIND: _new_holder,
    catalog.ImageDelete.KIND: _holders,
    aggregates.AggregateCreate.KIND: lambda entry: Touched(are_aggregates=True),
    aggregates.AggregateDelete.KIND: lambda entry: Touched(are_aggregates=True),  # no host was in it
    aggregates.AggregateAddHost.KIND: _host_of_aggregate,
    aggregates.AggregateRemoveHost.KIND: _host_of_aggregate,
    aggregates.AggregateUpdate.KIND: lambda entry: ALL,  # the zone of all its hosts
    aggregates.AggregateSetMetadata.KIND: lambda entry: ALL,
    log.LevelRaise.KIND: lambda entry: ALL,
}


def touched(entry: AppliedEntry) -> Touched:
    known = _TOUCHED.get(entry.command.KIND)
    return ALL if known is None else known(entry)


def is_known(kind: type[Command]) -> bool:
    """Whether it is said here what such a command touches."""
    return kind.KIND in _TOUCHED
