"""Issue 2, item 5: bad input is a 4xx that names the field, and nothing changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fabric.core.identity.queries import ListProjects, ListUsers
from tests.api.identity.conftest import PASSWORD, IdentityWorld, auth

LOGIN = "/identity/v3/auth/tokens"
GENERIC = "The request you have made requires authentication."


def _login_with(**changes: Any) -> dict[str, Any]:
    """A good login with some paths changed: `identity__methods=...`; a value of `...` removes."""
    body = copy.deepcopy(auth("admin", PASSWORD, "admin"))
    for path, value in changes.items():
        *parents, last = path.split("__")
        inner = body["auth"]
        for parent in parents:
            inner = inner[parent]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "'auth' is a required property"),
        ({"auth": []}, "auth"),
        ({"auth": {}}, "'identity' is a required property"),
        (_login_with(surprise=1), "'surprise' was unexpected"),
        (_login_with(identity__methods=[]), "methods"),
        (_login_with(identity__methods="password"), "methods"),
        (_login_with(identity__methods=["password"] * 2), "methods"),
        (_login_with(identity__methods=["token"]), "token"),
        (_login_with(identity__password=...), "password"),
        (_login_with(identity__password__user__password=...), "'password' is a required property"),
        (_login_with(identity__password__user__password=5), "password"),
        (_login_with(identity__password__user__password="x" * 5000), "password"),
        (_login_with(identity__password__user__name=...), "user"),
        (_login_with(identity__password__user__name="n" * 10_000), "name"),
        (_login_with(identity__password__user__name=["admin"]), "name"),
        (_login_with(identity__password__user__domain={}), "domain"),
        (_login_with(identity__password__user__x=1), "'x' was unexpected"),
        (_login_with(scope=5), "scope"),
        (_login_with(scope={}), "scope"),
        (_login_with(scope={"project": {}}), "scope"),
        (_login_with(scope={"project": {"id": "a"}, "domain": {"id": "b"}}), "scope"),
    ],
)
async def test_bad_logins_are_400(world: IdentityWorld, body: Any, said: str) -> None:
    status, answer, _ = await world.ask("POST", LOGIN, json=body)
    assert status == 400
    assert answer["error"]["title"] == "Bad Request"
    assert said in answer["error"]["message"]
    assert PASSWORD not in answer["error"]["message"]
    assert len(answer["error"]["message"]) < 1500


@pytest.mark.parametrize(
    "body",
    [
        _login_with(identity__password__user__password="wrong"),
        _login_with(identity__password__user__password=""),
        _login_with(identity__password__user__name="nobody"),
        _login_with(identity__password__user__domain={"name": "Elsewhere"}),
        _login_with(identity__password__user__domain={"id": "elsewhere"}),
        _login_with(scope={"project": {"name": "nothing", "domain": {"id": "default"}}}),
        _login_with(scope={"project": {"name": "admin", "domain": {"id": "elsewhere"}}}),
        _login_with(scope={"project": {"id": "x"}}),
        _login_with(scope={"domain": {"id": "default"}}),
        _login_with(scope={"system": {"all": True}}),
        {"auth": {"identity": {"methods": ["token"], "token": {"id": "gAAAAnonsense"}}}},
    ],
)
async def test_refused_logins_all_say_the_same(world: IdentityWorld, body: Any) -> None:
    status, answer, headers = await world.ask("POST", LOGIN, json=body)
    assert status == 401
    assert answer == {"error": {"code": 401, "message": GENERIC, "title": "Unauthorized"}}
    assert headers["WWW-Authenticate"].startswith("Keystone uri=")


async def test_a_method_we_do_not_have_is_401(world: IdentityWorld) -> None:
    status, answer, _ = await world.ask(
        "POST", LOGIN, json={"auth": {"identity": {"methods": ["totp"], "totp": {"user": {}}}}}
    )
    assert (status, answer["error"]["message"]) == (
        401,
        "Attempted to authenticate with an unsupported method.",
    )


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"{", 400), (b"", 400), (b"\xff", 400), (b"[" * 5000, 400), (b" " * 300_000, 413)],
)
async def test_what_is_not_json(world: IdentityWorld, data: bytes, status: int) -> None:
    got, answer, _ = await world.ask("POST", LOGIN, data=data, headers={"Content-Type": "application/json"})
    assert (got, answer["error"]["code"]) == (status, status)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("projects", {"project": {}}, "name"),
        ("projects", {"project": {"name": ""}}, "name"),
        ("projects", {"project": {"name": "   "}}, "name"),
        ("projects", {"project": {"name": "n" * 65}}, "name"),
        ("projects", {"project": {"name": "n" * 10_000}}, "name"),
        ("projects", {"project": {"name": 5}}, "name"),
        ("projects", {"project": {"name": "a\u0000b"}}, "name"),
        ("projects", {"project": {"name": "x", "enabled": "yes"}}, "enabled"),
        ("projects", {"project": {"name": "x", "color": "red"}}, "color"),
        ("projects", {"project": {"name": "x", "is_domain": True}}, "is_domain"),
        ("projects", {"project": {"name": "x", "domain_id": "elsewhere"}}, "domain: elsewhere"),
        ("projects", {"project": {"name": "x", "parent_id": "elsewhere"}}, "domain: elsewhere"),
        ("projects", {"project": {"name": "x"}, "more": 1}, "more"),
        ("users", {"user": {"password": "x"}}, "name"),
        ("users", {"user": {"name": "x" * 256}}, "name"),
        ("users", {"user": {"name": "x", "password": "p" * 5000}}, "password"),
        ("users", {"user": {"name": "x", "password": "é" * 3000}}, "password"),
        ("users", {"user": {"name": "x", "email": []}}, "email"),
        ("users", {"user": {"name": "x", "is_admin": True}}, "is_admin"),
        ("users", {"user": {"name": "x", "domain_id": "elsewhere"}}, "domain: elsewhere"),
        ("roles", {"role": {"name": None}}, "name"),
        ("roles", {"role": {"name": "x", "domain_id": "default"}}, "domain_id"),
        ("roles", ["role"], "object"),
    ],
)
async def test_bad_objects_are_400_and_nothing_changed(
    world: IdentityWorld, path: str, body: Any, said: str
) -> None:
    token = await world.log_in()
    before = world.cloud.state.applied_index
    status, answer, _ = await world.ask("POST", f"/identity/v3/{path}", token=token, json=body)
    assert status == 400
    assert said in answer["error"]["message"]
    assert len(answer["error"]["message"]) < 1500
    assert world.cloud.state.applied_index == before


@pytest.mark.parametrize("name", ["projects", "users", "roles"])
async def test_unknown_ids_are_clean_404s(world: IdentityWorld, name: str) -> None:
    token = await world.log_in()
    for identifier in ("nothing", "x" * 3000, "%00", "%F0%9F%92%A9", "..%2F..", "'%20or%201=1"):
        status, answer, _ = await world.ask("GET", f"/identity/v3/{name}/{identifier}", token=token)
        assert (status, answer["error"]["code"]) == (404, 404)


async def test_a_default_project_must_exist(world: IdentityWorld) -> None:
    token = await world.log_in()
    status, answer, _ = await world.ask(
        "POST", "/identity/v3/users", token=token, json={"user": {"name": "x", "default_project_id": "none"}}
    )
    assert (status, "none" in answer["error"]["message"]) == (404, True)
    assert len(await world.cloud.state.read(ListUsers())) == 1


async def test_an_expired_token_is_401_and_a_new_one_works(world: IdentityWorld) -> None:
    token = await world.log_in()
    world.clock.now_ms += world.cloud.token_ttl_ms
    status, answer, _ = await world.ask("GET", "/identity/v3/projects", token=token)
    assert (status, answer["error"]["message"]) == (401, GENERIC)
    fresh = await world.log_in()
    status, _, _ = await world.ask("GET", "/identity/v3/projects", token=fresh)
    assert status == 200


async def test_a_disabled_project_ends_its_tokens(world: IdentityWorld) -> None:
    admin = await world.log_in()
    status, body, _ = await world.ask(
        "POST", "/identity/v3/projects", token=admin, json={"project": {"name": "temp"}}
    )
    project = body["project"]["id"]
    grant = f"/identity/v3/projects/{project}/users/{'c' * 32}/roles/{'1' * 32}"
    await world.ask("PUT", grant, token=admin)
    scoped = await world.log_in(project="temp")
    change = {"project": {"enabled": False}}
    status, _, _ = await world.ask("PATCH", f"/identity/v3/projects/{project}", token=scoped, json=change)
    assert status == 200  # the token was good when it was looked at
    status, _, _ = await world.ask("GET", "/identity/v3/projects", token=scoped)
    assert status == 401


async def test_a_reader_changes_nothing(world: IdentityWorld) -> None:
    admin = await world.log_in()
    status, body, _ = await world.ask(
        "POST", "/identity/v3/users", token=admin, json={"user": {"name": "rae", "password": "pw"}}
    )
    rae = body["user"]["id"]
    grant = f"/identity/v3/projects/{'a' * 32}/users/{rae}/roles/{'4' * 32}"
    status, _, _ = await world.ask("PUT", grant, token=admin)
    assert status == 204
    token = await world.log_in("rae", "pw", "admin")
    before = world.cloud.state.applied_index
    for method, path, body in (
        ("POST", "projects", {"project": {"name": "x"}}),
        ("PATCH", f"projects/{'a' * 32}", {"project": {"name": "x"}}),
        ("DELETE", f"projects/{'a' * 32}", None),
        ("POST", "users", {"user": {"name": "x"}}),
        ("PATCH", f"users/{rae}", {"user": {"enabled": True}}),
        ("DELETE", f"users/{rae}", None),
        ("POST", "roles", {"role": {"name": "x"}}),
        ("DELETE", f"roles/{'4' * 32}", None),
        ("PUT", f"projects/{'a' * 32}/users/{rae}/roles/{'1' * 32}", None),
        ("GET", "role_assignments", None),
        ("GET", "projects", None),
    ):
        status, _, _ = await world.ask(method, f"/identity/v3/{path}", token=token, json=body)
        assert status == 403, (method, path)
    assert world.cloud.state.applied_index == before
    assert len(await world.cloud.state.read(ListProjects())) == 2
