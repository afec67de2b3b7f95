"""Errors open to all of `fabric`. Each says in `outcome` whether the thing may have happened."""

from __future__ import annotations

from proto.errors import FabricError, Outcome

__all__ = [
    "CommandRejectedError",
    "ConfigError",
    "DeadlineExceededError",
    "FabricError",
    "NoQuorumError",
    "NotLeaderError",
    "Outcome",
    "PeerUnreachableError",
    "RemoteError",
]


class ConfigError(FabricError):
    """A setting is missing or wrong. The message names the field and the fix."""

    code = "fabric.config"
    outcome = Outcome.NOT_DONE


class CommandRejectedError(FabricError):
    """`apply` checked the predicates and said no: nothing changed.

    `reason` is one of: not_found, conflict, stale, bad_state, busy, in_use, quota, forbidden, fenced,
    no_capacity, host_disabled, address_taken, mac_taken, expired, not_due, invalid.
    """

    code = "fabric.rejected"
    outcome = Outcome.NOT_DONE

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class NotLeaderError(FabricError):
    code = "fabric.raft.not_leader"
    outcome = Outcome.NOT_DONE


class NoQuorumError(FabricError):
    """No conductor can be reached: writes are refused, reads may go on with their age."""

    code = "fabric.raft.no_quorum"
    outcome = Outcome.NOT_DONE


class PeerUnreachableError(FabricError):
    """The peer is not in the table, or has no link: the request never left."""

    code = "fabric.mesh.unreachable"
    outcome = Outcome.NOT_DONE


class DeadlineExceededError(FabricError):
    """No answer in time: it may have been done."""

    code = "fabric.mesh.deadline"
    outcome = Outcome.UNKNOWN


class RemoteError(FabricError):
    """The peer answered with an error. Carries its code and outcome across."""

    code = "fabric.mesh.remote"

    def __init__(self, remote_code: str, message: str, outcome: Outcome = Outcome.UNKNOWN) -> None:
        super().__init__(message)
        self.remote_code = remote_code
        self.message = message
        self.outcome = outcome  # type: ignore[misc]  # the peer's claim, an instance's own
