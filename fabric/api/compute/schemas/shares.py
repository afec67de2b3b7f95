"""Shared file systems of servers. Source: Nova's API reference, "Servers with shares attachments"."""

from __future__ import annotations

from fabric.api.compute.schemas.parameters import UUID, wrapped
from fabric.api.validation import Schema

_TAG: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9-]*\Z"}
SHARE = wrapped("share", {"share_id": UUID, "tag": _TAG}, required=("share_id",))
