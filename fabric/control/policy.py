"""Who may do what: one table of rules, one place that judges.

- A rule names an operation, `noun:verb` (Compute's as `compute:noun:verb`), and the role it takes. Roles
  imply: admin > manager > member > reader (`implied_roles`).
- Other projects' objects do not exist for callers who are not admin: NotFoundError, never Forbidden.

How operations use it: `require(caller, rule)` when there is no object yet, `authorize(caller, rule,
project_id)` with the object's owner, `visible_to(caller)` for lists, `can_see` and `owner_of_new` for
the cases in between. A rule missing in the table is our mistake and fails closed; a tidy test finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from fabric.control.context import Caller
from fabric.control.errors import ForbiddenError, InvalidError, NotFoundError
from proto.ids import ProjectId


class Role(StrEnum):
    READER = "reader"
    MEMBER = "member"
    MANAGER = "manager"
    ADMIN = "admin"


_IMPLIES: Mapping[str, frozenset[str]] = {  # Keystone's bootstrap implications, closed transitively
    "admin": frozenset({"manager", "member", "reader"}),
    "manager": frozenset({"member", "reader"}),
    "member": frozenset({"reader"}),
}

_READ, _WRITE, _ADMIN = Role.READER, Role.MEMBER, Role.ADMIN


def _crud(noun: str, read: Role, write: Role) -> dict[str, Role]:
    reads = {f"{noun}:{verb}": read for verb in ("list", "show")}
    return reads | {f"{noun}:{verb}": write for verb in ("create", "update", "delete")}


RULES: Mapping[str, Role] = {
    # Identity
    **_crud("identity:projects", _ADMIN, _ADMIN),
    **_crud("identity:users", _ADMIN, _ADMIN),
    **_crud("identity:roles", _READ, _ADMIN),
    "identity:domains:list": _READ,
    "identity:grants:list": _ADMIN,
    "identity:grants:check": _ADMIN,
    "identity:grants:create": _ADMIN,
    "identity:grants:delete": _ADMIN,
    "identity:role_assignments:list": _ADMIN,
    **_crud("identity:registered_limits", _READ, _ADMIN),
    **_crud("identity:limits", _READ, _ADMIN),
    "identity:catalog:list": _READ,
    "identity:tokens:validate_others": _ADMIN,
    "identity:tokens:revoke_others": _ADMIN,
    # Compute
    **_crud("compute:servers", _READ, _WRITE),
    "compute:servers:list_all_projects": _ADMIN,
    "compute:servers:action": _WRITE,
    "compute:servers:create_forced_host": _ADMIN,
    "compute:servers:migrate": _ADMIN,
    "compute:servers:evacuate": _ADMIN,
    "compute:servers:migrate_live": _ADMIN,
    "compute:servers:shelve": _WRITE,
    "compute:servers:unshelve": _WRITE,
    "compute:servers:unshelve_to_host": _ADMIN,
    "compute:servers:shelve_offload": _ADMIN,
    "compute:server_shares:list": _READ,
    "compute:server_shares:show": _READ,
    "compute:server_shares:create": _WRITE,
    "compute:server_shares:delete": _WRITE,
    "compute:migrations:list": _ADMIN,
    "compute:server_migrations:list": _ADMIN,
    "compute:server_migrations:show": _ADMIN,
    "compute:server_migrations:delete": _ADMIN,
    "compute:server_migrations:force_complete": _ADMIN,
    "compute:servers:create_requested_destination": _ADMIN,
    **_crud("compute:keypairs", _READ, _READ),  # a user's own, whatever the project
    **_crud("compute:flavors", _READ, _ADMIN),
    **_crud("compute:quotas", _READ, _ADMIN),
    "compute:quota_classes:show": _ADMIN,
    "compute:quota_classes:update": _ADMIN,
    "compute:limits:show": _READ,
    "compute:zones:list": _READ,
    "compute:zones:detail": _ADMIN,
    **_crud("compute:services", _ADMIN, _ADMIN),
    **_crud("compute:hypervisors", _ADMIN, _ADMIN),
    **_crud("compute:aggregates", _ADMIN, _ADMIN),
    "compute:aggregates:add_host": _ADMIN,
    "compute:aggregates:remove_host": _ADMIN,
    "compute:aggregates:set_metadata": _ADMIN,
    "compute:aggregates:images": _ADMIN,
    **_crud("compute:server_groups", _READ, _WRITE),
    "compute:server_groups:list_all_projects": _ADMIN,
    # Placement: it names hosts and other projects' consumers, as hypervisors do
    **_crud("placement:providers", _ADMIN, _ADMIN),
    **_crud("placement:allocations", _ADMIN, _ADMIN),
    "placement:candidates:list": _ADMIN,
    "placement:usages:show": _READ,  # of one's own project
    "placement:reshape": _ADMIN,
    **_crud("placement:resource_classes", _READ, _ADMIN),
    **_crud("placement:traits", _READ, _ADMIN),
    # Image
    **_crud("images", _READ, _WRITE),
    "images:upload": _WRITE,
    "images:download": _READ,
    "images:publicize": _ADMIN,
    # Network
    **_crud("networks", _READ, _WRITE),
    "networks:create_provider": _ADMIN,
    "networks:create_shared": _ADMIN,
    **_crud("subnets", _READ, _WRITE),
    **_crud("ports", _READ, _WRITE),
    **_crud("security_groups", _READ, _WRITE),
    **_crud("security_group_rules", _READ, _WRITE),
    **_crud("network_quotas", _READ, _ADMIN),
    "network_quotas:list": _ADMIN,
    "network_agents:list": _ADMIN,
    # Fabric's own
    "fabric:servers:why": _READ,
    "fabric:servers:why_not": _ADMIN,
    "fabric:requests:explain": _WRITE,
    "fabric:capacity:show": _ADMIN,
    "fabric:rebalance:plan": _ADMIN,
}


def implied_roles(names: Iterable[str]) -> frozenset[str]:
    """The assigned roles and all they imply."""
    roles = frozenset(names)
    return roles.union(*(_IMPLIES.get(name, frozenset()) for name in roles))


def allows(caller: Caller, rule: str) -> bool:
    return RULES[rule].value in caller.roles


def require(caller: Caller, rule: str) -> None:
    """The caller's roles allow it, whoever owns what. Raises: ForbiddenError."""
    if not allows(caller, rule):
        raise ForbiddenError(f"Policy doesn't allow {rule} to be performed.")


def authorize(caller: Caller, rule: str, project_id: ProjectId | None = None) -> None:
    """The roles allow it and the object (if given by its owner) is one the caller may know of.

    Raises: NotFoundError first, so that a refusal does not tell that the object exists; ForbiddenError.
    """
    if project_id is not None and not can_see(caller, project_id):
        raise NotFoundError("The resource could not be found.")
    require(caller, rule)


def can_see(caller: Caller, project_id: ProjectId) -> bool:
    """The caller's own project's, or any for an admin."""
    return caller.is_admin or caller.project_id == project_id


def visible_to(caller: Caller) -> ProjectId | None:
    """For queries' `visible_to`: the caller's project; None (all) for an admin.

    Raises: ForbiddenError for an unscoped token, which sees nothing.
    """
    if caller.is_admin:
        return None
    return _scope_of(caller)


def owner_of_new(caller: Caller, project_id: ProjectId | None = None) -> ProjectId:
    """The project a new object will belong to. Another than one's own takes an admin.

    Raises: ForbiddenError.
    """
    if project_id is not None and project_id != caller.project_id:
        if not caller.is_admin:
            raise ForbiddenError("Only an admin may create objects for another project.")
        return project_id
    return _scope_of(caller)


def _scope_of(caller: Caller) -> ProjectId:
    if caller.project_id is None:
        if caller.is_admin:
            raise InvalidError("The token has no project: ask for a project-scoped one.")
        raise ForbiddenError("The token has no project: ask for a project-scoped one.")
    return caller.project_id
