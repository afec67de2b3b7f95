"""An image's bytes over HTTP: never more than a few chunks in memory, either way."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from fabric.api.faults import ApiError
from fabric.api.image.handlers.images import image_id
from fabric.api.request import caller, cloud
from fabric.api.responses import empty_response
from fabric.control import image_data
from fabric.control.image_data import ByteRange
from fabric.core.images.model import Image

log = logging.getLogger(__name__)

OCTETS = "application/octet-stream"
CHUNK_TIMEOUT_S = 120.0  # a client that sends nothing for so long is gone
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


async def upload(request: web.Request) -> web.Response:
    if "Content-Type" in request.headers and request.content_type != OCTETS:
        raise ApiError(415, f"Image data must be sent as {OCTETS}.")
    size_bytes = request.content_length
    image = await image_data.check_upload(cloud(request), caller(request), image_id(request), size_bytes)
    await image_data.upload(cloud(request), caller(request), image, _chunks(request), size_bytes)
    return empty_response(204)


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    """Raises ApiError 400 for a broken body, 408 for a stalled one."""
    while True:
        try:
            async with asyncio.timeout(CHUNK_TIMEOUT_S):
                chunk = await request.content.readany()
        except TimeoutError as error:
            raise ApiError(408, f"No image data came for {CHUNK_TIMEOUT_S:.0f} seconds.") from error
        except (RequestPayloadError, HttpProcessingError) as error:
            raise ApiError(400, "The image data is not a well-formed HTTP body.") from error
        if not chunk:
            return
        yield chunk


async def download(request: web.Request) -> web.StreamResponse:
    image = await image_data.check_download(cloud(request), caller(request), image_id(request))
    if image is None:
        return empty_response(204)  # no data yet, as Glance says it
    part = _wanted_range(request, image)
    response = _head(image, part)
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    await image_data.bring(cloud(request), image)
    await response.prepare(request)
    try:
        async for chunk in image_data.download(cloud(request), image, part):
            await response.write(chunk)
        await response.write_eof()
    except ConnectionResetError:
        log.info("image download broken off by the client", extra={"image_id": image.image_id})
    except Exception:
        # Headers are out: an error body would be taken for image data. A cut connection cannot be.
        log.exception("image download failed", extra={"image_id": image.image_id})
        if request.transport is not None:
            request.transport.abort()
    return response


def _head(image: Image, part: ByteRange | None) -> web.StreamResponse:
    assert image.size_bytes is not None, "an active image has a size"
    response = web.StreamResponse(status=200 if part is None else 206)
    response.content_type = OCTETS
    response.headers["Accept-Ranges"] = "bytes"
    if part is None:
        response.content_length = image.size_bytes
        if image.md5 is not None:
            response.headers["Content-MD5"] = image.md5
    else:
        response.content_length = part.length
        last = part.offset + part.length - 1
        response.headers["Content-Range"] = f"bytes {part.offset}-{last}/{image.size_bytes}"
    return response


def _wanted_range(request: web.Request, image: Image) -> ByteRange | None:
    """One range of RFC 9110 section 14. Raises ApiError 416 for what cannot be served, as Glance does."""
    text = request.headers.get("Range")
    if text is None:
        return None
    assert image.size_bytes is not None, "an active image has a size"
    size = image.size_bytes
    refused = ApiError(
        416,
        f"The byte range passed in the 'Range' header did not match any available byte range in the "
        f"image ({size} bytes).",
        headers={"Content-Range": f"bytes */{size}"},
    )
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or match.group(0) == "bytes=-":
        raise refused
    first, last = match.groups()
    if first == "":
        length = min(int(last), size)
        offset = size - length
    else:
        offset = int(first)
        length = (min(int(last), size - 1) if last else size - 1) - offset + 1
    if offset >= size or length <= 0:
        raise refused
    return ByteRange(offset, length)
