"""Finding what a command names, or rejecting `not_found` in the words of the service it belongs to."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, reject, single
from fabric.store.prepared import AnyRow, kept, prepared

_PROJECT = kept(single(select(t.projects).where(t.projects.c.project_id == bindparam("id"))))
_USER = prepared(single(select(t.users).where(t.users.c.user_id == bindparam("id"))))
_ROLE = prepared(single(select(t.roles).where(t.roles.c.role_id == bindparam("id"))))
_FLAVOR = kept(single(select(t.flavors).where(t.flavors.c.flavor_id == bindparam("id"))))
_IMAGE = kept(single(select(t.images).where(t.images.c.image_id == bindparam("id"))))
_NETWORK = kept(single(select(t.networks).where(t.networks.c.network_id == bindparam("id"))))
_SUBNET = kept(single(select(t.subnets).where(t.subnets.c.subnet_id == bindparam("id"))))
_PORT = prepared(single(select(t.ports).where(t.ports.c.port_id == bindparam("id"))))
_GROUP = kept(
    single(select(t.security_groups).where(t.security_groups.c.security_group_id == bindparam("id")))
)
_HOST = kept(single(select(t.hosts).where(t.hosts.c.host_id == bindparam("id"))))
_SERVER = prepared(single(select(t.servers).where(t.servers.c.server_id == bindparam("id"))))


def need_project(context: ApplyContext, project_id: str) -> AnyRow:
    context.project_id = project_id
    return context.row(_PROJECT, {"id": project_id}) or reject(
        "not_found", f"Could not find project: {project_id}."
    )


def need_user(context: ApplyContext, user_id: str) -> AnyRow:
    return context.row(_USER, {"id": user_id}) or reject("not_found", f"Could not find user: {user_id}.")


def need_role(context: ApplyContext, role_id: str) -> AnyRow:
    return context.row(_ROLE, {"id": role_id}) or reject("not_found", f"Could not find role: {role_id}.")


def need_flavor(context: ApplyContext, flavor_id: str) -> AnyRow:
    return context.row(_FLAVOR, {"id": flavor_id}) or reject(
        "not_found", f"Flavor {flavor_id} could not be found."
    )


def need_image(context: ApplyContext, image_id: str) -> AnyRow:
    row = context.row(_IMAGE, {"id": image_id}) or reject("not_found", f"No image found with ID {image_id}")
    context.project_id = row.project_id
    return row


def need_network(context: ApplyContext, network_id: str) -> AnyRow:
    return context.row(_NETWORK, {"id": network_id}) or reject(
        "not_found", f"Network {network_id} could not be found."
    )


def need_subnet(context: ApplyContext, subnet_id: str) -> AnyRow:
    return context.row(_SUBNET, {"id": subnet_id}) or reject(
        "not_found", f"Subnet {subnet_id} could not be found."
    )


def need_port(context: ApplyContext, port_id: str) -> AnyRow:
    return context.row(_PORT, {"id": port_id}) or reject("not_found", f"Port {port_id} could not be found.")


def need_group(context: ApplyContext, security_group_id: str) -> AnyRow:
    return context.row(_GROUP, {"id": security_group_id}) or reject(
        "not_found", f"Security group {security_group_id} does not exist"
    )


def need_host(context: ApplyContext, host_id: str) -> AnyRow:
    return context.row(_HOST, {"id": host_id}) or reject(
        "not_found", f"Compute host {host_id} could not be found."
    )


def need_server(context: ApplyContext, server_id: str) -> AnyRow:
    row = context.row(_SERVER, {"id": server_id}) or reject(
        "not_found", f"Instance {server_id} could not be found."
    )
    context.project_id = row.project_id
    return row


def image_if_any(context: ApplyContext, image_id: str) -> AnyRow | None:
    return context.row(_IMAGE, {"id": image_id})


def is_image(context: ApplyContext, image_id: str) -> bool:
    return context.exists(_IMAGE, {"id": image_id})


def is_server(context: ApplyContext, server_id: str) -> bool:
    return context.exists(_SERVER, {"id": server_id})


def is_port(context: ApplyContext, port_id: str) -> bool:
    return context.exists(_PORT, {"id": port_id})
