"""An image's bytes: in, judged and hashed on the way; out, from this node or brought here first."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError, TooLargeError, UnavailableError
from fabric.control.image_formats import HEADER_BYTES, check_formats, check_header
from fabric.control.images import owned_image, visible_image
from fabric.control.propose import propose
from fabric.core.images.model import Image, ImageStatus
from fabric.errors import FabricError
from fabric.runtime.blobs import BlobNotFoundError, BlobTooLargeError, StoredBlob
from proto.commands.catalog import ImageActivate
from proto.ids import ImageId


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `offset`, both within the image."""

    offset: int
    length: int


async def check_upload(cloud: Cloud, caller: Caller, image_id: ImageId, size_bytes: int | None) -> Image:
    """May bytes come, and may this many? Asked before the first is read.

    Raises: NotFoundError, ForbiddenError, ConflictError (not queued), InvalidError (formats unset),
    TooLargeError."""
    policy.require(caller, "images:upload")
    image = await owned_image(cloud, caller, image_id)
    if image.status != ImageStatus.QUEUED:
        raise ConflictError(f"Image status transition from {image.status} to saving is not allowed")
    check_formats(image.disk_format, image.container_format)
    if size_bytes is not None and size_bytes > cloud.image_bytes_max:
        raise _too_large(cloud)
    return image


async def upload(
    cloud: Cloud, caller: Caller, image: Image, chunks: AsyncIterator[bytes], size_bytes: int | None
) -> None:
    """Stores the bytes and activates the record; any failure leaves it queued and nothing stored.

    `size_bytes`: how many the client announced, None when it did not. `chunks` are read as they come and
    never gathered. Raises: InvalidError (not the declared format, fewer bytes than announced),
    TooLargeError, ConflictError (another upload was faster), NotFoundError (deleted meanwhile).
    """
    assert image.disk_format is not None, "check_upload came first"
    judge = _Judge(image.disk_format, chunks, size_bytes)
    try:
        stored = await cloud.blobs.put(judge.passed(), limit_bytes=cloud.image_bytes_max)
    except BlobTooLargeError as error:
        raise _too_large(cloud) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TooLargeError("There is not enough disk space on this node for the image.") from error
        raise
    await propose(cloud, _activate(cloud, image, stored, judge.virtual_bytes), request_id=caller.request_id)


async def check_download(cloud: Cloud, caller: Caller, image_id: ImageId) -> Image | None:
    """The image if it has bytes, None while it is queued. Raises NotFoundError."""
    policy.require(caller, "images:download")
    image = await visible_image(cloud, caller, image_id)
    return image if image.status == ImageStatus.ACTIVE else None


async def bring(cloud: Cloud, image: Image) -> None:
    """The bytes are on this node when it returns. Raises UnavailableError."""
    assert image.sha256 is not None, "an active image has an address"
    assert image.size_bytes is not None, "and a size"
    if await cloud.blobs.path(image.sha256) is not None:
        return
    if cloud.blob_source is None or image.node_id is None:
        raise UnavailableError(f"The data of image {image.image_id} is not on this node.")
    try:
        await cloud.blob_source.fetch(image.sha256, image.size_bytes, image.node_id)
    except (FabricError, BlobNotFoundError) as error:
        raise UnavailableError(
            f"The data of image {image.image_id} is on node {image.node_id}, which does not give it now."
        ) from error


def download(cloud: Cloud, image: Image, part: ByteRange | None) -> AsyncIterator[bytes]:
    """The bytes, or a part of them. `bring` first."""
    assert image.sha256 is not None, "an active image has an address"
    if part is None:
        return cloud.blobs.get(image.sha256)
    return cloud.blobs.get(image.sha256, offset=part.offset, length=part.length)


def _too_large(cloud: Cloud) -> TooLargeError:
    return TooLargeError(f"The image is larger than the {cloud.image_bytes_max} bytes one image may have.")


def _activate(cloud: Cloud, image: Image, stored: StoredBlob, virtual_bytes: int | None) -> ImageActivate:
    return ImageActivate(
        image_id=image.image_id,
        size_bytes=stored.size_bytes,
        virtual_bytes=stored.size_bytes if virtual_bytes is None else virtual_bytes,
        md5=stored.md5,
        sha512=stored.sha512,
        sha256=stored.sha256,
        node_id=cloud.fleet.me,
    )


class _Judge:
    """Lets chunks pass once their beginning is that of an image of the declared format."""

    def __init__(self, disk_format: str, chunks: AsyncIterator[bytes], size_bytes: int | None) -> None:
        self.virtual_bytes: int | None = None
        self._disk_format = disk_format
        self._chunks = chunks
        self._announced = size_bytes

    async def passed(self) -> AsyncIterator[bytes]:
        """Raises InvalidError from within `put`, which then keeps nothing."""
        head = bytearray()
        is_judged, total = False, 0
        async for chunk in self._chunks:
            total += len(chunk)
            if is_judged:
                yield chunk
                continue
            head += chunk
            if len(head) >= HEADER_BYTES:
                self._judge(head)
                is_judged = True
                yield bytes(head)
        if not is_judged:
            self._judge(head)
            yield bytes(head)
        if self._announced is not None and total != self._announced:
            raise InvalidError(f"{self._announced} bytes were announced, {total} came; nothing was stored.")

    def _judge(self, head: bytearray) -> None:
        self.virtual_bytes = check_header(self._disk_format, bytes(head[:HEADER_BYTES]))
