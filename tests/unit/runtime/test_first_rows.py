"""A fabric's first entries, and a node's own row: once, whatever was cut short before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fabric.core.identity.queries import GetFabric
from fabric.core.nodes.model import Node
from fabric.core.nodes.queries import GetNode
from fabric.errors import ConfigError
from fabric.runtime import first_rows
from fabric.runtime.authority import FOUNDER_ROLES, Authority, load_authority, read_own
from fabric.runtime.clock import SystemClock
from fabric.runtime.first_rows import FirstRows
from fabric.runtime.founding import FIRST_ENTRY_FILE, first_entry
from fabric.runtime.node_identity import IdentityError, Membership, NodeIdentity, load_membership
from fabric.store.lone_voter import lone_voter
from fabric.store.voter_engine import VoterEngine
from proto.commands.nodes import NodeRenew
from proto.ids import RequestId, new_request_id
from tests.fixtures.store_world import fabric_init
from tests.unit.runtime.test_founding import do_found


@dataclass
class Founder:
    """A directory in which a fabric was founded, and its rows."""

    directory: Path
    state: VoterEngine
    identity: NodeIdentity
    member: Membership
    authority: Authority
    adopted: list[Membership] = field(default_factory=list)

    def rows(self) -> FirstRows:
        return FirstRows(
            self.state,
            self.directory,
            name="h1",
            identity=self.identity,
            authority=self.authority,
            clock=SystemClock(),
            adopt=self.adopted.append,
        )

    async def start(self) -> None:
        await self.rows().found(self.member)
        await self.rows().enter_own(self.member)

    async def row(self) -> Node:
        row = await self.state.read(GetNode(node_id=self.identity.node_id))
        assert row is not None
        return row

    def certificate(self, generation: int) -> bytes:
        return self.authority.issue(
            curve_public=self.identity.curve_public,
            sign_public=self.identity.sign_public,
            name="h1",
            now_ms=SystemClock().wall_ms(),
            roles=FOUNDER_ROLES,
            node_id=self.identity.node_id,
            generation=generation,
        )


@pytest.fixture
async def founder(tmp_path: Path) -> AsyncIterator[Founder]:
    directory = tmp_path / "node"
    directory.mkdir()
    identity = do_found(directory)
    member = load_membership(directory)
    assert member is not None
    authority = load_authority(directory, member.fabric_id)
    assert authority is not None
    state = lone_voter(tmp_path / "state", clock=SystemClock())
    await state.open()
    yield Founder(directory, state, identity, member, authority)
    await state.close()


async def test_the_first_start_enters_the_fabric_and_the_founder(founder: Founder) -> None:
    await founder.start()
    fabric = await founder.state.read(GetFabric())
    assert fabric is not None
    assert fabric.fabric_id == founder.member.fabric_id
    row = await founder.row()
    assert (row.name, row.certificate, row.generation) == ("h1", founder.member.certificate, 1)
    assert first_entry(founder.directory) is None


async def test_a_second_start_enters_nothing(founder: Founder) -> None:
    await founder.start()
    index = founder.state.applied_index
    await founder.start()
    assert founder.state.applied_index == index


async def test_a_start_cut_short_is_done_again(founder: Founder) -> None:
    """After the fabric's own entry: the file is still there, and repeats nothing."""
    await founder.rows().found(founder.member)
    assert first_entry(founder.directory) is not None
    index = founder.state.applied_index
    await founder.rows().found(founder.member)
    assert founder.state.applied_index == index
    await founder.start()
    assert (await founder.row()).generation == 1


async def test_rows_of_another_fabric_are_refused(founder: Founder) -> None:
    await founder.state.propose(fabric_init(), request_id=RequestId("other"))
    with pytest.raises(ConfigError, match="a database of its own"):
        await founder.rows().found(founder.member)


async def test_rows_that_are_gone_are_not_made_anew(founder: Founder) -> None:
    (founder.directory / FIRST_ENTRY_FILE).unlink()
    with pytest.raises(IdentityError, match="restore a backup"):
        await founder.rows().found(founder.member)
    assert founder.state.applied_index == 0 or await founder.state.read(GetFabric()) is None


async def test_a_renewed_certificate_reaches_the_row(founder: Founder) -> None:
    await founder.start()
    renewed = replace(founder.member, certificate=founder.certificate(2))
    await founder.rows().enter_own(renewed)
    row = await founder.row()
    assert (row.certificate, row.generation) == (renewed.certificate, 2)
    assert founder.adopted == []


async def test_files_of_a_backup_outdo_the_certificate_that_the_rows_know(founder: Founder) -> None:
    await founder.start()
    newer = NodeRenew(
        node_id=founder.identity.node_id,
        curve_public=founder.identity.curve_public,
        certificate=founder.certificate(5),
        generation=5,
    )
    await founder.state.propose(newer, request_id=new_request_id())
    await founder.rows().enter_own(founder.member)
    (adopted,) = founder.adopted
    certificate = read_own(adopted.certificate)
    assert (certificate.generation, certificate.roles) == (6, FOUNDER_ROLES)
    assert (await founder.row()).certificate == adopted.certificate


async def test_keys_that_are_being_changed_are_left_alone(
    founder: Founder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await founder.start()
    index = founder.state.applied_index

    def pending(directory: Path) -> Any:
        assert directory == founder.directory
        return founder.identity

    monkeypatch.setattr(first_rows, "pending_keys", pending)
    await founder.rows().enter_own(replace(founder.member, certificate=founder.certificate(2)))
    assert founder.state.applied_index == index
