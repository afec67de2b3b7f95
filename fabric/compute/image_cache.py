"""Base images on this host, by content address.

A cached file is a hard link (a copy across file systems) to what the fetcher brought, so that deleting
an image never takes the backing file from under a guest that booted from it. Files no guest is built on
are dropped, oldest use first, when more than UNUSED_KEPT of them have not been used for UNUSED_AGE_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from fabric.compute.errors import ImageError
from fabric.core.servers.model import ImageSource
from fabric.errors import FabricError

log = logging.getLogger(__name__)

Fetch = Callable[[ImageSource], Awaitable[str]]  # path of a local, verified file; joins equal requests

BASE_FORMAT: dict[str, str] = {"qcow2": "qcow2", "raw": "raw", "ami": "raw"}  # Image API -> disk format
ATTEMPTS_MAX = 3
RETRY_S = 1.0
FETCH_TIMEOUT_S = 900.0  # longer than any build deadline we set by default
UNUSED_KEPT = 4
UNUSED_AGE_S = 3_600
_SHA256 = re.compile(r"[0-9a-f]{64}")


def base_format(source: ImageSource) -> str:
    """Raises ImageError for formats no hypervisor of ours boots."""
    found = BASE_FORMAT.get(source.disk_format)
    if found is None:
        known = ", ".join(sorted(BASE_FORMAT))
        raise ImageError(
            f"image {source.image_id} has disk format {source.disk_format!r}; bootable are {known}"
        )
    return found


class ImageCache:
    def __init__(self, directory: Path, fetch: Fetch, *, retry_s: float = RETRY_S) -> None:
        self._directory = directory
        self._fetch = fetch
        self._retry_s = retry_s
        self._links = asyncio.Lock()
        self._held: dict[str, None] = {}  # content addresses, the last used last

    def path_of(self, source: ImageSource) -> str:
        """Where its bytes are once they are here."""
        return str(self._directory / source.sha256)

    def held(self, count: int) -> list[str]:
        """The content addresses of so many files, those used last."""
        return list(self._held)[-count:]

    def has(self, source: ImageSource) -> bool:
        return source.sha256 in self._held

    async def look(self) -> None:
        """At what is there since an earlier life. Raises OSError."""
        found = await asyncio.to_thread(_found, self._directory)
        self._held = dict.fromkeys(found) | self._held

    async def ensure(self, source: ImageSource) -> str:
        """The path of the image's bytes on this host. Raises ImageError naming the image and why not."""
        if _SHA256.fullmatch(source.sha256) is None:
            raise ImageError(f"image {source.image_id} has no content address")
        path = Path(self.path_of(source))
        if await asyncio.to_thread(_touch, path):
            self._use(source)
            return str(path)
        fetched = await self._fetch_patiently(source)
        try:
            async with self._links:
                await asyncio.to_thread(_link, Path(fetched), path)
        except OSError as error:
            raise ImageError(f"image {source.image_id} could not be kept: {error.strerror}") from error
        self._use(source)
        return str(path)

    async def take(self, sha256: str, fill: Callable[[Path], Awaitable[None]]) -> str:
        """The path of those bytes; where they are not here, `fill` writes them into a fresh file. Raises
        ImageError when it wrote others; what `fill` raises comes through."""
        if _SHA256.fullmatch(sha256) is None:
            raise ImageError(f"{sha256[:64]!r} is no content address")
        path = self._directory / sha256
        if not await asyncio.to_thread(_touch, path):
            fresh = path.with_name(f".{sha256}-{secrets.token_hex(6)}")
            try:
                await asyncio.to_thread(_make_empty, fresh)
                await fill(fresh)
                if await asyncio.to_thread(_sha256_of, fresh) != sha256:
                    raise ImageError(f"other bytes came than those of {sha256}")
                async with self._links:
                    await asyncio.to_thread(_link, fresh, path)
            except OSError as error:
                raise ImageError(f"image {sha256} could not be kept: {error.strerror}") from error
            finally:
                await asyncio.to_thread(fresh.unlink, missing_ok=True)
        self._held.pop(sha256, None)
        self._held[sha256] = None
        return str(path)

    def _use(self, source: ImageSource) -> None:
        self._held.pop(source.sha256, None)
        self._held[source.sha256] = None

    async def _fetch_patiently(self, source: ImageSource) -> str:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                async with asyncio.timeout(FETCH_TIMEOUT_S):
                    return await self._fetch(source)
            except TimeoutError as error:
                raise ImageError(
                    f"image {source.image_id} did not arrive within {FETCH_TIMEOUT_S:.0f} s"
                ) from error
            except (FabricError, OSError) as error:
                fields = {"image": source.image_id, "attempt": attempt, "error": str(error)}
                if attempt == ATTEMPTS_MAX:
                    raise ImageError(f"image {source.image_id} could not be fetched: {error}") from error
                log.warning("image fetch failed", extra=fields)
            await asyncio.sleep(self._retry_s * attempt)
        raise AssertionError("unreachable")

    async def prune(self, in_use: frozenset[str]) -> int:
        """Drops files that no path in `in_use` names; how many. Raises OSError."""
        dropped = await asyncio.to_thread(_prune, self._directory, in_use, time.time())
        for name in dropped:
            self._held.pop(name, None)
        return len(dropped)


def _make_empty(path: Path) -> None:
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    path.touch(mode=0o644, exist_ok=False)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    target.parent.chmod(0o711)  # QEMU's user opens base images by name; it cannot list them
    try:
        os.link(source, target)
        os.utime(target)
        return
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        shutil.copyfile(source, aside)
        descriptor = os.open(aside, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(aside, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()


def _found(directory: Path) -> list[str]:
    """Content addresses of what is whole, the last used last."""
    if not directory.is_dir():
        return []
    files = [each for each in os.scandir(directory) if _SHA256.fullmatch(each.name)]
    return [each.name for each in sorted(files, key=lambda each: (each.stat().st_mtime, each.name))]


def _prune(directory: Path, in_use: frozenset[str], now_s: float) -> list[str]:
    """The names of those it dropped."""
    if not directory.is_dir():
        return []
    unused = []
    for path in directory.iterdir():
        used_s = path.stat().st_mtime
        if str(path) not in in_use and now_s - used_s >= UNUSED_AGE_S:
            unused.append((used_s, path))
    unused.sort(reverse=True)
    for _, path in unused[UNUSED_KEPT:]:
        path.unlink(missing_ok=True)
    return [path.name for _, path in unused[UNUSED_KEPT:]]
