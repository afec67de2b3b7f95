"""Founding and joining survive a crash at any point, and happen once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fabric.errors import ConfigError
from fabric.runtime import founding, node_identity
from fabric.runtime.authority import FOUNDER_ROLES, load_authority, read_certificate
from fabric.runtime.clock import SystemClock
from fabric.runtime.founding import (
    FIRST_ENTRY_FILE,
    NodeFacts,
    first_entry,
    forget_first_entry,
    found,
    prepare_directory,
    refuse_second,
)
from fabric.runtime.node_identity import IdentityError, NodeIdentity, load_membership, load_or_create
from fabric.store import files
from proto.commands import encode_command
from proto.commands.nodes import RoleHold
from proto.ids import NodeId

FACTS = NodeFacts(name="h1", endpoint="tcp://127.0.0.1:7400", zone="nova", software="t")
CLOCK = SystemClock()


def do_found(directory: Path) -> NodeIdentity:
    return found(
        directory, FACTS, admin_password_hash="hash", clock=CLOCK, random_bytes=lambda count: b"k" * count
    )


class KilledError(BaseException):
    """As kill -9 between two files."""


def test_the_founder_has_all_it_needs(tmp_path: Path) -> None:
    identity = do_found(tmp_path)
    member, authority = load_membership(tmp_path), None
    assert member is not None
    assert member.founder
    authority = load_authority(tmp_path, member.fabric_id)
    assert authority is not None
    assert authority.root_public == member.root_public
    certificate = read_certificate(
        member.certificate,
        root_public=member.root_public,
        fabric_id=member.fabric_id,
        now_ms=CLOCK.wall_ms(),
    )
    assert (certificate.node_id, certificate.roles) == (identity.node_id, FOUNDER_ROLES)
    first = first_entry(tmp_path)
    assert first is not None
    assert (first.fabric_id, first.admin_password_hash) == (member.fabric_id, "hash")
    assert len(first.token_key) == 32
    forget_first_entry(tmp_path)
    forget_first_entry(tmp_path)
    assert first_entry(tmp_path) is None


def test_founding_happens_once(tmp_path: Path) -> None:
    do_found(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for again in (do_found, refuse_second):
        with pytest.raises(IdentityError, match=r"has founded fabric .* already"):
            again(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("survived", range(4))
def test_a_founding_cut_short_anywhere_is_simply_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """`survived` files are on disk when the machine dies: node.key, root.key, first-entry, fabric.member."""
    written: list[str] = []
    real = files.write_private

    def write(path: Path, data: bytes) -> None:
        if len(written) == survived:
            raise KilledError
        written.append(path.name)
        real(path, data)

    with monkeypatch.context() as patch:
        for module in (node_identity, founding, founding.create_authority.__globals__):
            if isinstance(module, dict):
                patch.setitem(module, "write_private", write)
            else:
                patch.setattr(module, "write_private", write)
        with pytest.raises(KilledError):
            do_found(tmp_path)
    assert len(written) == survived
    assert load_membership(tmp_path) is None
    refuse_second(tmp_path)
    do_found(tmp_path)
    member, first = load_membership(tmp_path), first_entry(tmp_path)
    assert member is not None
    assert first is not None
    assert first.fabric_id == member.fabric_id  # nothing of the first attempt is mixed in
    assert first.root_public == member.root_public


def test_a_used_root_is_never_taken_for_a_leftover(tmp_path: Path) -> None:
    do_found(tmp_path)
    (tmp_path / "epoch").write_text("1")  # the agent has run: others may hold certificates by this root
    (tmp_path / "fabric.member").unlink()
    root = (tmp_path / "root.key").read_bytes()
    with pytest.raises(IdentityError, match=r"fabric\.member is missing, and the agent .* restore the file"):
        do_found(tmp_path)
    assert (tmp_path / "root.key").read_bytes() == root


@pytest.mark.parametrize(
    "content", [b"", b"\xc1", encode_command(RoleHold(role="x", node_id=NodeId("a" * 32)))]
)
def test_a_damaged_first_entry_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FIRST_ENTRY_FILE).write_bytes(content)
    with pytest.raises(IdentityError, match="first-entry"):
        first_entry(tmp_path)


async def test_joining_twice_or_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys outlive a join cut short, so asking again is the same node asking."""
    asked: list[Any] = []

    async def killed(token: object, identity: NodeIdentity, *rest: object) -> object:
        asked.append(identity.node_id)
        raise KilledError

    monkeypatch.setattr(founding, "join_with_token", killed)
    for _ in range(2):
        with pytest.raises(KilledError):
            await founding.join(tmp_path, FACTS, None, CLOCK)  # type: ignore[arg-type]
    assert asked == [load_or_create(tmp_path).node_id] * 2
    do_found(tmp_path)
    with pytest.raises(IdentityError, match="founded"):
        await founding.join(tmp_path, FACTS, None, CLOCK)  # type: ignore[arg-type]


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"node\.state_dir: cannot make .*file"):
        prepare_directory(tmp_path / "file" / "state")
    prepare_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o066 == 0
