"""What can go wrong on the host side. Each outcome is certain: a host knows what it did."""

from __future__ import annotations

from fabric.errors import FabricError, Outcome


class StaleAssignmentsError(FabricError):
    """The answer is older than rows this host has already acted on: a conductor restored from an old
    copy, or reset. Acting on it could destroy guests, so nothing is done."""

    code = "fabric.compute.stale_assignments"
    outcome = Outcome.NOT_DONE


class BadAssignmentsError(FabricError):
    """The answer is for another host, or its pages make no progress."""

    code = "fabric.compute.bad_assignments"
    outcome = Outcome.NOT_DONE


class DamagedFileError(FabricError, ValueError):
    """A file of ours is not what we wrote. The message names it."""

    code = "fabric.compute.damaged_file"
    outcome = Outcome.NOT_DONE


class ImageError(FabricError):
    """An image cannot be had on this host, or cannot be booted."""

    code = "fabric.compute.image"
    outcome = Outcome.NOT_DONE


class NoProcessorsError(FabricError):
    """The guest wants dedicated processors, and this host has none, or too few free ones."""

    code = "fabric.compute.no_processors"
    outcome = Outcome.NOT_DONE


class NoTopologyError(FabricError):
    """The guest wants NUMA nodes or devices that this host cannot give it."""

    code = "fabric.compute.no_topology"
    outcome = Outcome.NOT_DONE


class BuildGivenUpError(FabricError):
    """This host has said that it cannot build the server: it may be elsewhere by now."""

    code = "fabric.compute.build_given_up"
    outcome = Outcome.NOT_DONE


class StepFailedError(FabricError):
    """One step of the work on a server failed, and what it had made is undone (`step` names it).
    `left_nothing`: of a build, all of it was, and this host will not do it any more."""

    code = "fabric.compute.step_failed"
    outcome = Outcome.NOT_DONE

    def __init__(self, step: str, cause: BaseException) -> None:
        super().__init__(f"{step}: {cause}")
        self.step = step
        self.cause = cause
        self.left_nothing = False
