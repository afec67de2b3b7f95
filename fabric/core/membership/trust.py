"""Who may be believed. The core asks; `fabric.runtime.authority` answers with real keys."""

from __future__ import annotations

from typing import Protocol

from fabric.core.membership.model import NodeRecord
from proto.ids import NodeId
from proto.membership import NodeState, Removal


class Trust(Protocol):
    """Pure but for the certificates' validity period."""

    def sign(self, data: bytes) -> bytes:
        """64 bytes, by this node's signing key."""
        ...

    def doubt(self, state: NodeState, record: NodeRecord) -> str | None:
        """Why a state is not to be believed ("bad_certificate", "bad_signature", "wrong_owner",
        "role_not_allowed", ...), None when it is."""
        ...

    def is_spoken_by(self, owner: NodeState, data: bytes, signature: bytes) -> bool:
        """Whether the signing key in `owner`'s certificate (believed before) made `signature` over `data`."""
        ...

    def removed(self, removal: Removal) -> NodeId | None:
        """Whom the root removed with this; None when the root did not say so."""
        ...

    def is_newer(self, certificate: bytes, known: bytes) -> bool:
        """Whether `certificate` was issued to its node after `known` was: the older one is spent."""
        ...
