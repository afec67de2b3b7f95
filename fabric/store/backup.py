"""A copy of a voter's tables at a known index, in one file: a tar of `manifest.json`, `state.sqlite`, and
`fabric.root` where it was asked for. It holds secrets: password hashes, the key of tokens, guests' user data.

SQLite's backup interface copies in one read, so it may be taken beside an agent that writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from fabric import __version__
from fabric.store.errors import SnapshotRefusedError
from fabric.store.files import new_private_file
from fabric.store.snapshot_files import open_copy
from fabric.store.sqlite import copy_database, open_reader
from fabric.store.voter_tables import check_copy, mark_of_copy
from proto.errors import WireError

MANIFEST, TABLES, ROOT = "manifest.json", "state.sqlite", "fabric.root"
MANIFEST_BYTES_MAX, ROOT_BYTES_MAX = 64 << 10, 4 << 10
CHUNK_BYTES = 1 << 20
FORM = 1
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    form: int
    fabric_id: str
    incarnation: int
    index: int
    term: int
    schema_version: int
    entry_ms: int  # the stamp of the last entry: what came later is not in it
    digest: str  # BLAKE2b-256 of the tables' file, hexadecimal
    made_ms: int
    software: str


def write_backup(
    database: Path, to: Path, *, incarnation: int, now_ms: int, root_key: bytes = b"", force: bool = False
) -> Manifest:
    """Whole or not at all, 0600. Raises FileExistsError unless `force`, SnapshotRefusedError, OSError,
    sqlite3.Error."""
    with new_private_file(to, force=force) as out:
        scratch = to.with_name(f"{to.name}.tables.tmp")
        return put_backup(database, out, scratch, incarnation=incarnation, now_ms=now_ms, root_key=root_key)


def put_backup(
    database: Path, out: IO[bytes], scratch: Path, *, incarnation: int, now_ms: int, root_key: bytes = b""
) -> Manifest:
    """Into `out`, from its beginning; `scratch` is made on the way and gone after it. Raises
    SnapshotRefusedError, OSError, sqlite3.Error."""
    try:
        _private(scratch).close()
        with closing(open_reader(database)) as source:
            copy_database(source, scratch)
        manifest = _describe(scratch, incarnation, now_ms)
        with tarfile.open(fileobj=out, mode="w") as tar:
            _add(tar, MANIFEST, json.dumps(asdict(manifest), indent=2).encode(), now_ms)
            if root_key:
                _add(tar, ROOT, root_key, now_ms)
            with scratch.open("rb") as tables:
                tar.addfile(_info(TABLES, scratch.stat().st_size, now_ms), tables)
    finally:
        scratch.unlink(missing_ok=True)
    return manifest


def read_manifest(source: IO[bytes]) -> Manifest:
    """Of a backup whose tables are those that it says. Raises SnapshotRefusedError, OSError."""
    try:
        return _unpack(source, None)[0]
    except (tarfile.TarError, ValueError, TypeError, EOFError) as error:
        raise SnapshotRefusedError(f"this is no backup of a fabric, or damaged: {error}") from error


@contextmanager
def opened_backup(path: Path, tables: Path) -> Iterator[tuple[Manifest, bytes, sqlite3.Connection]]:
    """The manifest, the root's key or b"", and the tables, checked; they are in the file `tables` then, which
    is made for it. Raises SnapshotRefusedError, OSError."""
    try:
        with path.open("rb") as file:
            manifest, root_key = _unpack(file, tables)
    except (tarfile.TarError, ValueError, TypeError, EOFError) as error:
        raise SnapshotRefusedError(f"{path} is no backup of a fabric, or damaged: {error}") from error
    with closing(open_copy(tables)) as source:
        try:
            mark = mark_of_copy(source)
        except (sqlite3.Error, WireError, TypeError) as error:
            raise SnapshotRefusedError(f"{path}: the tables cannot be read: {error}") from error
        check_copy(source, mark)
        if (mark.index, mark.term) != (manifest.index, manifest.term):
            raise SnapshotRefusedError(f"{path}: the tables are of entry {mark.index}, not {manifest.index}")
        yield manifest, root_key, source


def _unpack(source: IO[bytes], tables: Path | None) -> tuple[Manifest, bytes]:
    """`tables`: where to put them."""
    manifest, root_key, digest = None, b"", ""
    with tarfile.open(fileobj=source, mode="r:") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is None:
                raise ValueError(f"{member.name} is no file")
            if member.name == MANIFEST:
                manifest = Manifest(**json.loads(content.read(MANIFEST_BYTES_MAX)))
            elif member.name == ROOT:
                root_key = content.read(ROOT_BYTES_MAX)
            elif member.name == TABLES:
                with contextlib.nullcontext() if tables is None else _private(tables) as out:
                    digest = _copy_and_digest(content, out)
    if manifest is None or not digest:
        raise ValueError("a part is missing")
    if manifest.form != FORM:
        raise ValueError(f"its form is {manifest.form}, this program knows {FORM}")
    if manifest.digest != digest:
        raise ValueError("the tables are not those that were backed up")
    return manifest, root_key


def _describe(copy: Path, incarnation: int, now_ms: int) -> Manifest:
    with closing(open_copy(copy)) as source:
        mark = mark_of_copy(source)
        check_copy(source, mark)
        schema_version, entry_ms = source.execute("SELECT schema_version, time_ms FROM position").fetchone()
        fabric = source.execute("SELECT fabric_id FROM fabric").fetchone()
    if fabric is None:
        raise SnapshotRefusedError("this node's rows hold no fabric yet")
    with copy.open("rb") as tables:
        digest = _copy_and_digest(tables, None)
    return Manifest(
        form=FORM,
        fabric_id=fabric[0],
        incarnation=incarnation,
        index=mark.index,
        term=mark.term,
        schema_version=schema_version,
        entry_ms=entry_ms,
        digest=digest,
        made_ms=now_ms,
        software=__version__,
    )


def _copy_and_digest(source: IO[bytes], out: IO[bytes] | None) -> str:
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    while chunk := source.read(CHUNK_BYTES):
        hasher.update(chunk)
        if out is not None:
            out.write(chunk)
    return hasher.hexdigest()


def _private(path: Path) -> IO[bytes]:
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _info(name: str, size: int, now_ms: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, now_ms // 1_000
    return info


def _add(tar: tarfile.TarFile, name: str, data: bytes, now_ms: int) -> None:
    tar.addfile(_info(name, len(data), now_ms), io.BytesIO(data))
