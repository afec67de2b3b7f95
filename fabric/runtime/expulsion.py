"""When this node may take part no longer: the root removed it, or another process has its identity and the
better right to it. Both end the agent, each with its own message and way out."""

from __future__ import annotations

from pathlib import Path

from fabric.errors import FabricError, Outcome
from fabric.store.files import write_private

REMOVED_FILE = "fabric.removed"


class NodeRemovedError(FabricError):
    code = "fabric.identity.removed"
    outcome = Outcome.NOT_DONE


class IdentityClonedError(FabricError):
    code = "fabric.identity.cloned"
    outcome = Outcome.NOT_DONE


def expelled(directory: Path, name: str, reason: str, endpoint: str) -> FabricError:
    """The error the agent ends with. `endpoint` is where the other process lives; "" says that the node was
    removed, which is remembered: nobody would ever tell it again."""
    if endpoint:
        return IdentityClonedError(
            f"{name} ends: {reason} (it is at {endpoint}). Two machines run over copies of one state "
            "directory: stop the wrong one, remove its state directory and join it as a new node"
        )
    write_private(directory / REMOVED_FILE, reason.encode())
    return NodeRemovedError(_removed(directory, name))


def refuse_removed(directory: Path, name: str) -> None:
    """Raises NodeRemovedError when an earlier life of this agent was told so."""
    if (directory / REMOVED_FILE).exists():
        raise NodeRemovedError(_removed(directory, name))


def _removed(directory: Path, name: str) -> str:
    return (
        f"{name} was removed from its fabric, and no node takes its keys any more. To bring the machine "
        f"back, remove {directory}, so that it makes new keys, and join again as a new node"
    )
