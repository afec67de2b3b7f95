"""What the core cannot go on from."""

from __future__ import annotations

from proto.errors import FabricError, Outcome


class PromiseForgottenError(FabricError):
    """This voter's disk lacks what it acknowledged under the same name: it was set back to an older copy, or
    lost writes that it had reported durable."""

    code = "fabric.raft.promise_forgotten"
    outcome = Outcome.NOT_DONE
