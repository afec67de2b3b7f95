"""What is fuzzed: one function of bytes for each decoder, with where it starts from.

A target returns for anything that is refused as it should be, and raises for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.fuzz import core_world, decoders, seeds

KIB = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """`share`: of the processor time, against the others. `is_plain`: the bytes are one msgpack value, so
    that mutants of its structure are worth trying."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    bytes_max: int = 4 * KIB
    share: int = 1
    is_plain: bool = True


TARGETS: dict[str, Target] = {
    "codec": Target(decoders.codec, seeds.plain_values),
    "envelope": Target(decoders.envelope, seeds.frames),
    "member_messages": Target(decoders.member_message, seeds.member_bodies, share=3),
    "rpc_messages": Target(decoders.rpc_message, seeds.rpc_bodies),
    "raft_messages": Target(decoders.raft_message, seeds.raft_bodies, share=2),
    "raft_records": Target(decoders.raft_record, seeds.raft_records),
    "command_entries": Target(decoders.command_entry, seeds.command_entries),
    "voter_records": Target(decoders.voter_record, seeds.voter_records),
    "log_segments": Target(decoders.log_segment, seeds.log_segments, is_plain=False),
    "snapshot_marks": Target(decoders.snapshot_mark, seeds.snapshot_marks),
    "snapshot_copies": Target(decoders.snapshot_copy, seeds.snapshot_copies, is_plain=False),
    "state_bodies": Target(decoders.state_body, seeds.state_bodies, share=2),
    "loads_and_removals": Target(decoders.load_and_removal, seeds.loads_and_removals),
    "certificates": Target(decoders.certificate, seeds.certificates),
    "join": Target(decoders.join, seeds.join_frames),
    "join_tokens": Target(decoders.join_token, seeds.join_tokens, is_plain=False),
    "commands": Target(decoders.command, seeds.commands, share=2),
    "core": Target(core_world.live, core_world.seeds, bytes_max=16 * KIB, share=6),
}
