"""Keys and epoch on disk."""

from __future__ import annotations

import os
import resource
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fabric.core.membership.record import node_id_of
from fabric.runtime.node_identity import (
    IdentityError,
    Membership,
    has_run,
    identity_of,
    load_membership,
    load_or_create,
    new_keys,
    next_epoch,
    save_keys,
    save_membership,
)
from fabric.store.files import write_private
from proto.codec import pack
from proto.ids import FabricId

KEYS = {"curve_secret": b"s" * 32, "curve_public": b"p" * 32, "sign_secret": b"g" * 32}


def test_identity_is_made_once_and_stays(tmp_path: Path) -> None:
    first, second = load_or_create(tmp_path), load_or_create(tmp_path)
    assert first.node_id == second.node_id == node_id_of(first.curve_public)
    assert first.curve_secret == second.curve_secret
    assert first.sign(b"x") == second.sign(b"x")
    assert load_or_create_elsewhere(tmp_path) != first.node_id


def load_or_create_elsewhere(tmp_path: Path) -> str:
    other = tmp_path / "other"
    other.mkdir()
    return load_or_create(other).node_id


def test_every_file_is_private_and_secrets_are_not_shown(tmp_path: Path) -> None:
    identity = load_or_create(tmp_path)
    next_epoch(tmp_path)
    save_membership(tmp_path, Membership(FabricId("f"), b"r" * 32, b"c"))
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert repr(identity.curve_secret)[2:-1] not in repr(identity)
    assert load_membership(tmp_path) == Membership(FabricId("f"), b"r" * 32, b"c")


def test_the_epoch_only_grows(tmp_path: Path) -> None:
    assert not has_run(tmp_path)
    assert [next_epoch(tmp_path) for _ in range(3)] == [1, 2, 3]
    assert has_run(tmp_path)
    assert next_epoch(tmp_path, at_least=10) == 10
    assert next_epoch(tmp_path, at_least=4) == 11


def test_the_epoch_goes_on_from_the_file_of_first_light(tmp_path: Path) -> None:
    (tmp_path / "incarnation").write_text("41")
    assert has_run(tmp_path)
    assert [next_epoch(tmp_path), next_epoch(tmp_path)] == [42, 43]
    assert [path.name for path in tmp_path.iterdir()] == ["epoch"]


def test_threads_never_get_the_same_epoch(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(lambda _: next_epoch(tmp_path), range(40)))
    assert sorted(drawn) == list(range(1, 41))


def test_rotated_keys_keep_the_id_of_the_first(tmp_path: Path) -> None:
    first = load_or_create(tmp_path)
    keys = new_keys(first.node_id)
    save_keys(tmp_path, keys)
    second = load_or_create(tmp_path)
    assert second.node_id == first.node_id == identity_of(keys).node_id
    assert second.curve_public != first.curve_public
    assert second.sign_public != first.sign_public
    assert str(keys.curve_secret)[2:-1] not in repr(keys)


def test_damage_is_told_with_the_file_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "epoch").write_text("many")
    with pytest.raises(IdentityError, match="epoch"):
        next_epoch(tmp_path)
    load_or_create(tmp_path)
    (tmp_path / "node.key").write_bytes(b"\xc1broken")
    with pytest.raises(IdentityError, match=r"node\.key"):
        load_or_create(tmp_path)
    assert load_membership(tmp_path) is None


def test_a_write_that_was_interrupted_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")
    (tmp_path / "file.new").write_bytes(b"half")  # what a crash before the rename leaves
    assert path.read_bytes() == b"old"
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_every_damage_is_an_identity_error(tmp_path: Path) -> None:
    """Missing fields, wrong lengths and types are damage like any other: one clear line, no traceback."""
    for content in (
        {},
        {"curve_secret": b"x" * 32},
        {**KEYS, "sign_secret": b"short"},
        {**KEYS, "curve_public": 5},
        {**KEYS, "node_id": "not an id"},
    ):
        (tmp_path / "node.key").write_bytes(pack(content))
        with pytest.raises(IdentityError, match=r"node\.key: damaged .* restore it from a backup"):
            load_or_create(tmp_path)
    (tmp_path / "fabric.member").write_bytes(pack({"fabric_id": "f"}))
    with pytest.raises(IdentityError, match=r"fabric\.member: damaged"):
        load_membership(tmp_path)
    (tmp_path / "fabric.member").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(IdentityError, match="too large"):
        load_membership(tmp_path)
    for number in ("-1", str(1 << 60)):
        (tmp_path / "epoch").write_text(number)
        with pytest.raises(IdentityError, match="out of range"):
            next_epoch(tmp_path)


def test_a_members_lost_keys_are_never_replaced_by_new_ones(tmp_path: Path) -> None:
    load_or_create(tmp_path)
    save_membership(tmp_path, Membership(FabricId("f"), b"r" * 32, b"c"))
    (tmp_path / "node.key").unlink()
    with pytest.raises(IdentityError, match="join again as a new node"):
        load_or_create(tmp_path)
    assert not (tmp_path / "node.key").exists()


def test_a_full_disk_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")
    real = os.fdopen

    def limited(handle: int, mode: str) -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        return real(handle, mode)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    monkeypatch.setattr(os, "fdopen", limited)
    try:
        with pytest.raises(OSError, match="File too large"):
            write_private(path, b"n" * 1_000)  # the kernel takes ten bytes of it, and says so
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old"
