"""The disk of a simulated voter: what may befall it, and what is kept of it elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from errno import ENOSPC
from typing import TYPE_CHECKING

from fabric.core.raft.node import RaftNode
from fabric.store.disk_trust import is_set_back
from fabric.store.voter_log import VoterLog
from tests.sim.raft_disk import DurableLog
from tests.sim.raft_faults import LOSING, DiskFault
from tests.sim.raft_files import SimFiles
from tests.sim.raft_rot import rotten_places
from tests.sim.raft_tables import SimTables

if TYPE_CHECKING:
    from tests.sim.raft_world import RaftWorld

OPERATIONS = {
    DiskFault.WRITE: ("write",),
    DiskFault.SYNC: ("sync",),
    DiskFault.NAMES: ("create", "rename", "sync_names", "remove"),
}


@dataclass(frozen=True, slots=True)
class DiskCopy:
    """Of who was not running."""

    files: SimFiles
    image: bytes
    starts: int | None


class SimLog(VoterLog):
    """With segments of any size: nobody here has large entries."""

    def __init__(self, files: SimFiles, segment_bytes: int) -> None:
        super().__init__(files)
        self._segment_bytes = segment_bytes


class VoterDisk(ABC):
    """What of a voter outlives its process, and may fail."""

    durable: DurableLog  # what it is held against

    def __init__(self, world: RaftWorld) -> None:
        self.node: RaftNode | None = None
        self.is_disowned = False  # its disk is not trusted any more: it never lives again
        self.was_set_back_whole = False  # with all that its node knows of it
        self._world = world
        self._files = SimFiles()
        self._sim_tables = SimTables()
        self._is_torn = False  # the last life ended in the middle of a write
        self._suffers: DiskFault | None = None  # waits for the next write, fold or start
        self._starts_inside: int | None = None
        self._starts_outside: int | None = None
        self._copy: DiskCopy | None = None

    @abstractmethod
    def crash(self) -> None: ...

    @property
    def is_sound(self) -> bool:
        """Its disk holds what it promised, and nothing has befallen it that would end that."""
        return not self.is_disowned and self._suffers not in LOSING and not self._is_set_back

    @property
    def _is_set_back(self) -> bool:
        return is_set_back(self._starts_inside, self._starts_outside)

    def suffer(self, fault: DiskFault) -> bool:
        """False: it cannot be, at the moment. Most strike at the next operation they are about."""
        if self._suffers is not None or self.node is None:
            return False
        match fault:
            case DiskFault.WRITE | DiskFault.SYNC | DiskFault.NAMES:
                operations = OPERATIONS[fault]
                self._files.fail_when(lambda operation: operation in operations)
            case DiskFault.FULL:
                self._files.free_bytes = 0
            case DiskFault.FULL_WRITE:
                self._files.fail_when(lambda operation: operation == "write", ENOSPC)
            case DiskFault.UNREADABLE:
                self.crash()
                left = iter(range(self._world.rng.randrange(1, 4)))
                self._files.fail_when(lambda operation: operation == "read" and next(left, None) is not None)
            case DiskFault.TABLES:
                pass
            case DiskFault.ROT:
                return self._rot()
            case DiskFault.SET_BACK:
                return self._set_back()
        self._suffers = fault
        return True

    def _rot(self) -> bool:
        """A bit of a record that some record behind it shows to have been durable."""
        places = rotten_places(self._files)
        if not places:
            return False
        name, offset, size = self._world.rng.choice(places)
        self._files.rot(name, offset + self._world.rng.randrange(size))
        self._suffers = DiskFault.ROT
        return True

    def _set_back(self) -> bool:
        """Only its own directory: what is counted beside it is as it was."""
        copy = self._copy
        if copy is None or copy.starts == self._starts_inside:
            return False
        self.crash()
        self._files, self._starts_inside = copy.files.copy(), copy.starts
        self._sim_tables.put_back(copy.image)
        return True

    def keep_copy(self) -> None:
        """Somebody copies its directory while it does not run."""
        self._copy = DiskCopy(self._files.copy(), self._sim_tables.durable_image(), self._starts_inside)

    def put_back_whole(self) -> bool:
        """With all that is kept beside the directory; what it then holds is what it may promise."""
        if not self._set_back():
            return False
        self._starts_outside = self._starts_inside
        self.was_set_back_whole = self._is_torn = True
        self.durable = DurableLog(self.durable.mark)
        return True

    def mend_disk(self) -> None:
        """Room is made, and what strikes at some later operation never does. What is lost stays so, and is
        found at a start."""
        self._files.free_bytes = None
        if self._suffers is DiskFault.ROT:
            self.crash()
        elif self._suffers is not None:
            self._suffers = None
            self._files.fail_when(lambda operation: False)
