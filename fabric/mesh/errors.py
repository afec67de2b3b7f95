"""What may go wrong between nodes, beyond `fabric.errors`."""

from __future__ import annotations

from fabric.errors import DeadlineExceededError, FabricError, Outcome, PeerUnreachableError


class MeshBusyError(PeerUnreachableError):
    """This node has too many calls under way: nothing was sent."""

    code = "fabric.mesh.busy"


class PeerLostError(DeadlineExceededError):
    """The peer's process went away, or a frame was lost, while the answer was awaited."""

    code = "fabric.mesh.peer_lost"


class TransportError(FabricError):
    """The mesh endpoint cannot be opened. The message names the address."""

    code = "fabric.mesh.transport"
    outcome = Outcome.NOT_DONE
