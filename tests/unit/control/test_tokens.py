"""A token is good while its user, password, project and roles are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.control.errors import UnauthenticatedError, UnavailableError
from fabric.control.tokens import authenticate_token, issue, seal, unseal, validate_token
from proto.ids import ProjectId, new_request_id
from tests.api.core.state_double import (
    FABRIC,
    PROJECT,
    USER,
    ClockDouble,
    StateDouble,
    cloud_double,
    token_for,
)

P1 = PROJECT.project_id


async def test_a_fresh_token_names_the_caller() -> None:
    cloud = cloud_double(StateDouble(role_names=("admin",)))
    caller = await authenticate_token(cloud, await token_for(cloud), new_request_id())
    assert (caller.user_id, caller.project_id, caller.project_name) == ("u1", "p1", "demo")
    assert caller.roles == {"admin", "manager", "member", "reader"}
    assert caller.is_admin


async def test_an_unscoped_token_has_no_roles() -> None:
    cloud = cloud_double()
    caller = await authenticate_token(cloud, await token_for(cloud, None), new_request_id())
    assert (caller.project_id, caller.roles) == (None, frozenset())


async def test_it_expires_to_the_millisecond() -> None:
    clock = ClockDouble()
    cloud = cloud_double(clock=clock)
    text = await token_for(cloud)
    clock.now_ms += cloud.token_ttl_ms - 1
    await validate_token(cloud, text)
    clock.now_ms += 1
    with pytest.raises(UnauthenticatedError):
        await validate_token(cloud, text)


@pytest.mark.parametrize(
    "change",
    [
        {"user": None},
        {"user": replace(USER, enabled=False)},
        {"user": replace(USER, password_hash="another")},
        {"project": None},
        {"project": replace(PROJECT, enabled=False)},
        {"role_names": ()},
    ],
)
async def test_it_ends_with_what_it_stands_for(change: dict[str, object]) -> None:
    state = StateDouble()
    cloud = cloud_double(state)
    text = await token_for(cloud)
    await validate_token(cloud, text)
    for name, value in change.items():
        setattr(state, name, value)
    with pytest.raises(UnauthenticatedError):
        await validate_token(cloud, text)


async def test_a_revoked_one_is_refused_and_its_sister_is_not() -> None:
    state = StateDouble()
    cloud = cloud_double(state)
    text, sister = await token_for(cloud), await token_for(cloud)
    state.revoked.add((await validate_token(cloud, text)).claims.audit_ids[0])
    with pytest.raises(UnauthenticatedError):
        await validate_token(cloud, text)
    await validate_token(cloud, sister)


async def test_a_token_made_from_a_token_lives_no_longer() -> None:
    clock = ClockDouble()
    cloud = cloud_double(clock=clock)
    first = await validate_token(cloud, await token_for(cloud))
    clock.now_ms += 1_000
    _, second = await issue(cloud, USER, P1, ("token", "password"), first)
    assert second.claims.expires_ms == first.claims.expires_ms
    assert second.claims.audit_ids[1] == first.claims.audit_ids[0]
    _, third = await issue(cloud, USER, P1, ("token", "password"), second)
    assert len(third.claims.audit_ids) == 2
    assert third.claims.audit_ids[1] == first.claims.audit_ids[0]


async def test_no_role_on_the_project_no_token() -> None:
    cloud = cloud_double(StateDouble(role_names=()))
    with pytest.raises(UnauthenticatedError):
        await issue(cloud, USER, ProjectId("p9"), ("password",), None)


async def test_another_fabrics_token_opens_nothing() -> None:
    cloud = cloud_double()
    claims = (await validate_token(cloud, await token_for(cloud))).claims
    forged = seal(claims, replace(FABRIC, token_key=b"x" * 32))
    assert unseal(forged, FABRIC) is None
    assert unseal(seal(claims, FABRIC), FABRIC) == claims


@pytest.mark.parametrize("text", ["", "x", "gAAAA", "g" * 100_000, "\u2028", "gAAAAABl" + "=" * 50])
def test_junk_is_no_token(text: str) -> None:
    assert unseal(text, FABRIC) is None


async def test_before_init_nobody_gets_in() -> None:
    cloud = cloud_double(StateDouble(fabric=None))
    with pytest.raises(UnavailableError, match="not initialised"):
        await validate_token(cloud, "x")
