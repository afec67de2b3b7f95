"""What can go wrong with the store itself. Rejections are `fabric.errors.CommandRejectedError`."""

from __future__ import annotations

from fabric.errors import DeadlineExceededError, FabricError, NoQuorumError, Outcome


class LogCorruptError(FabricError):
    """The log holds bytes that were once durable and are no longer what was written. Someone must act:
    restore from a backup, or rebuild this node from its peers. Nothing is repaired silently."""

    code = "fabric.store.log_corrupt"
    outcome = Outcome.NOT_DONE


class LogFailedError(FabricError):
    """A write or fsync of the log failed. What it carried may or may not be on disk."""

    code = "fabric.store.log_failed"
    outcome = Outcome.UNKNOWN


class SnapshotRefusedError(FabricError):
    """A copy of another voter's tables is damaged, or not what it should be. Nothing was changed."""

    code = "fabric.store.snapshot_refused"
    outcome = Outcome.NOT_DONE


class SchemaVersionError(FabricError):
    """The tables were made by another version of the program."""

    code = "fabric.store.schema_version"
    outcome = Outcome.NOT_DONE


class HaltedError(FabricError):
    """The log goes on with something that this program cannot apply: a command or a level that it does not
    know, or a revision that it would do otherwise. Nothing is lost and nothing was skipped: a program that
    can goes on from there."""

    code = "fabric.store.halted"
    outcome = Outcome.NOT_DONE


class RevisionFailedError(FabricError):
    """A revision of the rows is wrong: a bug of this program. Nothing of it was kept."""

    code = "fabric.store.revision_failed"
    outcome = Outcome.NOT_DONE


class StoreLockedError(FabricError):
    """Another process has this store open."""

    code = "fabric.store.locked"
    outcome = Outcome.NOT_DONE


class StoreBusyError(NoQuorumError):
    """Too much in flight or too little disk: nothing was done, try again later."""

    code = "fabric.store.busy"
    outcome = Outcome.NOT_DONE


class StoreStoppedError(NoQuorumError):
    """The store takes no writes (closed, or stopped after a failure): nothing was done."""

    code = "fabric.store.stopped"
    outcome = Outcome.NOT_DONE


class StoreFailedError(DeadlineExceededError):
    """The store failed while it held the command: it may have been done. Ask again with the same id."""

    code = "fabric.store.failed"
    outcome = Outcome.UNKNOWN
