"""Rules, roles and ownership. Every rule named anywhere in `fabric` is in the table."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fabric.control import policy
from fabric.control.context import Caller
from fabric.control.errors import ForbiddenError, InvalidError, NotFoundError
from proto.ids import DomainId, ProjectId, UserId, new_request_id

MINE, OTHERS = ProjectId("mine"), ProjectId("others")
JUDGES = {"require", "authorize", "allows"}


def caller(*roles: str, project_id: ProjectId | None = MINE) -> Caller:
    return Caller(
        user_id=UserId("u"),
        user_name="u",
        domain_id=DomainId("default"),
        project_id=project_id,
        project_name="mine",
        roles=policy.implied_roles(roles),
        request_id=new_request_id(),
    )


@pytest.mark.parametrize(
    ("role", "implied"),
    [
        ("admin", {"admin", "manager", "member", "reader"}),
        ("manager", {"manager", "member", "reader"}),
        ("member", {"member", "reader"}),
        ("reader", {"reader"}),
        ("custom", {"custom"}),
    ],
)
def test_roles_imply(role: str, implied: set[str]) -> None:
    assert policy.implied_roles([role]) == implied


@pytest.mark.parametrize(
    ("role", "rule", "may"),
    [
        ("reader", "compute:servers:list", True),
        ("reader", "compute:servers:create", False),
        ("member", "compute:servers:create", True),
        ("member", "compute:flavors:create", False),
        ("manager", "identity:users:create", False),
        ("admin", "identity:users:create", True),
        ("custom", "compute:servers:list", False),
    ],
)
def test_rules(role: str, rule: str, may: bool) -> None:
    assert policy.allows(caller(role), rule) is may
    if may:
        policy.require(caller(role), rule)
    else:
        with pytest.raises(ForbiddenError, match=rule):
            policy.require(caller(role), rule)


def test_a_rule_nobody_wrote_fails_closed_even_for_admins() -> None:
    with pytest.raises(KeyError):
        policy.require(caller("admin"), "servers:levitate")


def test_others_objects_do_not_exist() -> None:
    policy.authorize(caller("member"), "ports:update", MINE)
    with pytest.raises(NotFoundError):
        policy.authorize(caller("member"), "ports:update", OTHERS)
    with pytest.raises(NotFoundError):  # even where the role alone would be refused
        policy.authorize(caller("reader"), "ports:update", OTHERS)
    policy.authorize(caller("admin"), "ports:update", OTHERS)


def test_what_lists_may_show() -> None:
    assert policy.visible_to(caller("reader")) == MINE
    assert policy.visible_to(caller("admin")) is None
    with pytest.raises(ForbiddenError):
        policy.visible_to(caller(project_id=None))


def test_who_owns_what_is_made() -> None:
    assert policy.owner_of_new(caller("member")) == MINE
    assert policy.owner_of_new(caller("admin"), OTHERS) == OTHERS
    with pytest.raises(ForbiddenError):
        policy.owner_of_new(caller("member"), OTHERS)
    with pytest.raises(ForbiddenError):
        policy.owner_of_new(caller(project_id=None))
    with pytest.raises(InvalidError):
        policy.owner_of_new(caller("admin", project_id=None))


def test_every_rule_in_the_source_is_in_the_table() -> None:
    root = Path(policy.__file__).parents[1]
    named: set[str] = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in JUDGES
            ):
                named |= {
                    part.value
                    for argument in node.args
                    for part in ast.walk(argument)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str) and ":" in part.value
                }
    assert named
    assert named <= set(policy.RULES)
