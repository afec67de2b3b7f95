"""Images: records in the log, bytes in the blob store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, ForbiddenError, NotFoundError
from fabric.control.image_formats import check_pair
from fabric.control.propose import propose
from fabric.core.images.model import Image
from fabric.core.images.queries import GetImage, ImageFilter, ListImages
from fabric.core.queries import Page
from fabric.errors import CommandRejectedError
from fabric.runtime.hard_state import derive_request_id
from proto.commands.catalog import ImageCreate, ImageDelete, ImageUpdate
from proto.ids import ImageId, ProjectId, new_uuid

UPDATE_ATTEMPTS_MAX = 8  # a PATCH is computed again when another was faster

VISIBILITIES = ("public", "private", "shared", "community")


class ImageAttributeError(ForbiddenError):
    """This attribute is not one the caller may set, now or ever. The message names it."""

    code = "fabric.control.image_attribute"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFields:
    """All of an image that its owner may set."""

    name: str | None = None
    visibility: str = "shared"
    disk_format: str | None = None
    container_format: str | None = None
    min_disk_gb: int = 0
    min_ram_mb: int = 0
    protected: bool = False
    os_hidden: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def fields_of(image: Image) -> ImageFields:
    return ImageFields(
        name=image.name,
        visibility=image.visibility,
        disk_format=image.disk_format,
        container_format=image.container_format,
        min_disk_gb=image.min_disk_gb,
        min_ram_mb=image.min_ram_mb,
        protected=image.protected,
        os_hidden=image.os_hidden,
        properties=dict(image.properties),
        tags=image.tags,
    )


async def list_images(cloud: Cloud, caller: Caller, wanted: ImageFilter, page: Page) -> tuple[Image, ...]:
    """What the caller can see of `wanted`, whose `visible_to` is set here.

    Raises: MarkerNotFoundError.
    """
    policy.require(caller, "images:list")
    seen = replace(wanted, visible_to=policy.visible_to(caller))
    return await cloud.state.read(ListImages(filter=seen, page=page))


async def get_image(cloud: Cloud, caller: Caller, image_id: ImageId) -> Image:
    """Raises NotFoundError, also for another project's private or shared image."""
    policy.require(caller, "images:show")
    return await visible_image(cloud, caller, image_id)


async def create_image(
    cloud: Cloud,
    caller: Caller,
    fields: ImageFields,
    *,
    image_id: ImageId | None = None,
    owner: ProjectId | None = None,
) -> Image:
    """A record without bytes, status `queued`. Raises InvalidError, ForbiddenError, ConflictError (id)."""
    policy.require(caller, "images:create")
    project_id = policy.owner_of_new(caller, owner)
    _check(caller, fields, was_visibility=None)
    new_id = image_id or ImageId(new_uuid())
    create = ImageCreate(
        image_id=new_id,
        project_id=project_id,
        name=fields.name,
        visibility=fields.visibility,
        disk_format=fields.disk_format,
        container_format=fields.container_format,
        min_disk_gb=fields.min_disk_gb,
        min_ram_mb=fields.min_ram_mb,
        protected=fields.protected,
        os_hidden=fields.os_hidden,
        properties=fields.properties,
        tags=fields.tags,
    )
    await propose(cloud, create, request_id=caller.request_id)
    return await visible_image(cloud, caller, new_id)


async def update_image(
    cloud: Cloud, caller: Caller, image_id: ImageId, change: Callable[[Image], ImageFields]
) -> Image:
    """`change` says what the record becomes, given what it is; it may be asked again when somebody else's
    change came first, so nothing is lost. Raises what `change` raises, NotFoundError, ForbiddenError,
    InvalidError, ConflictError (still losing after UPDATE_ATTEMPTS_MAX)."""
    policy.require(caller, "images:update")
    for attempt in range(UPDATE_ATTEMPTS_MAX):
        image = await owned_image(cloud, caller, image_id)
        fields = change(image)
        if fields == fields_of(image):
            return image
        _check(caller, fields, was_visibility=image.visibility)
        _check_formats_fixed(image, fields)
        try:
            await propose(
                cloud,
                _update_of(image, fields),
                request_id=derive_request_id(caller.request_id, f"image-{attempt}"),
            )
        except CommandRejectedError as error:
            if error.reason != "stale":
                raise
            continue
        return await visible_image(cloud, caller, image_id)
    raise ConflictError(f"Image {image_id} is being changed by others all the time; try again.")


async def delete_image(cloud: Cloud, caller: Caller, image_id: ImageId) -> None:
    """The record goes now, the bytes with the next sweep. Raises NotFoundError, ForbiddenError."""
    policy.require(caller, "images:delete")
    image = await owned_image(cloud, caller, image_id)
    if image.protected:
        raise ForbiddenError(f"Image {image_id} is protected and cannot be deleted.")
    await propose(cloud, ImageDelete(image_id=image_id), request_id=caller.request_id)


async def visible_image(cloud: Cloud, caller: Caller, image_id: ImageId) -> Image:
    """Raises NotFoundError."""
    image = await cloud.state.read(GetImage(image_id=image_id))
    if image is None or not _can_use(caller, image):
        raise NotFoundError(f"No image found with ID {image_id}")
    return image


async def owned_image(cloud: Cloud, caller: Caller, image_id: ImageId) -> Image:
    """An image the caller may change. Raises NotFoundError; ForbiddenError when it is only visible."""
    image = await visible_image(cloud, caller, image_id)
    if not policy.can_see(caller, image.project_id):
        raise ForbiddenError(f"You are not permitted to modify image {image_id}.")
    return image


def _can_use(caller: Caller, image: Image) -> bool:
    return image.visibility in ("public", "community") or policy.can_see(caller, image.project_id)


def _check(caller: Caller, fields: ImageFields, *, was_visibility: str | None) -> None:
    if fields.visibility == "public" and was_visibility != "public":
        policy.require(caller, "images:publicize")
    check_pair(fields.disk_format, fields.container_format)


def _check_formats_fixed(image: Image, fields: ImageFields) -> None:
    """What the bytes are is settled once they are here. Source: Glance's `_enforce_queued`-like rule."""
    if image.status == "queued":
        return
    for name, old, new in (
        ("disk_format", image.disk_format, fields.disk_format),
        ("container_format", image.container_format, fields.container_format),
    ):
        if old != new:
            raise ImageAttributeError(f"Attribute {name} can be only replaced for a queued image.")


def _update_of(image: Image, fields: ImageFields) -> ImageUpdate:
    return ImageUpdate(
        image_id=image.image_id,
        read_generation=image.generation,
        name=fields.name,
        visibility=fields.visibility,
        disk_format=fields.disk_format,
        container_format=fields.container_format,
        min_disk_gb=fields.min_disk_gb,
        min_ram_mb=fields.min_ram_mb,
        protected=fields.protected,
        os_hidden=fields.os_hidden,
        properties=fields.properties,
        tags=fields.tags,
    )
