"""Where a bit may flip on a voter's disk so that its next start must find it."""

from __future__ import annotations

from fabric.store.voter_log import HEADER_BYTES
from fabric.store.voter_record import VoterRecord, decode_record
from tests.sim.raft_files import SimFiles


def rotten_places(files: SimFiles) -> list[tuple[str, int, int]]:
    """Name, offset and size of the records that a later one shows to have been durable. Of the last few
    nobody can tell damage from a torn write."""
    found = [(name, *each) for name in files.names() for each in _records(files.durable(name))]
    proven = max((record.durable for *_, record in found), default=0)
    return [(name, offset, record.size) for name, offset, record in found if record.sequence <= proven]


def _records(data: bytes) -> list[tuple[int, VoterRecord]]:
    found, offset = [], HEADER_BYTES
    while (record := decode_record(data, offset)) is not None:
        found.append((offset, record))
        offset += record.size
    return found
