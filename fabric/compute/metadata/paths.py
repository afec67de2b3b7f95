"""A path to what is found there: the whole service as one pure function."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.compute.metadata import ec2, openstack
from fabric.compute.metadata.facts import GuestFacts

TEXT = "text/plain"
JSON = "application/json"
BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Found:
    body: bytes
    content_type: str


def find(facts: GuestFacts, path: str) -> Found | None:
    """None: 404. A slash at the end makes no difference, as in Nova."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return _text("\n".join([*ec2.VERSIONS, ec2.LATEST]))
    if parts[0] == "openstack":
        return _find_openstack(facts, parts[1:])
    if parts[0] in ec2.VERSIONS or parts[0] == ec2.LATEST:
        return _find_ec2(facts, parts[0], parts[1:])
    return None


def _find_openstack(facts: GuestFacts, parts: list[str]) -> Found | None:
    if not parts:
        return _text("\n".join([*openstack.VERSIONS, openstack.LATEST]))
    if len(parts) == 1:
        names = openstack.file_names(facts, parts[0])
        return _text("\n".join(names)) if names else None
    if len(parts) > 2:
        return None
    content = openstack.file_content(facts, parts[0], parts[1])
    if content is None:
        return None
    return Found(content, JSON if parts[1].endswith(".json") else BYTES)


def _find_ec2(facts: GuestFacts, version: str, parts: list[str]) -> Found | None:
    if parts == ["user-data"]:
        user_data = facts.assigned.server.user_data
        return Found(user_data, BYTES) if user_data is not None else None
    node: str | ec2.Tree = ec2.root(facts, version)
    for part in parts:
        if isinstance(node, str) or part == ec2.LINE_NAME or part not in node:
            return None
        node = node[part]
    return _text(node if isinstance(node, str) else ec2.listing(node))


def _text(text: str) -> Found:
    return Found(text.encode(), TEXT)
