"""Host names of servers, out of what their users call them. Source: Nova."""

from __future__ import annotations

import re

from proto.ids import ServerId

_HOSTNAME_CHARS_MAX = 63  # RFC 1123, one label


def hostname_of(name: str, hostname: str | None, suffix: str, server_id: ServerId) -> str:
    """`hostname`: what was asked for; without, it is made of `name`. `suffix`: its number among many."""
    base = hostname if hostname is not None else sanitized_hostname(name)
    if not base:
        return f"server-{server_id}"
    if "." in base:  # a full name (2.94): the number belongs to its first label
        label, dot, domain = base.partition(".")
        return f"{label}{suffix}{dot}{domain}"
    return f"{base[: _HOSTNAME_CHARS_MAX - len(suffix)]}{suffix}"


def sanitized_hostname(name: str) -> str:
    """A server's name as a guest's host name, "" when nothing of it can be kept."""
    text = re.sub(r"[ _.]", "-", name.encode("ascii", "ignore").decode())
    text = re.sub(r"[^\w-]+", "", text).lower().strip("-")
    return text[:_HOSTNAME_CHARS_MAX].rstrip("-")
