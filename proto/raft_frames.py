"""How the voters' messages travel: the bodies of `raft.*` frames, and of the offer of a snapshot. SPEC.md,
section 8.

A body is flat: the message's own fields, and beside them from whom, to whom and in which life of the group.
The entries of an Append travel as columns, whose types are compared without a loop of ours; their indices
follow from `previous_index`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, ClassVar, cast, get_type_hints

from proto.codec import Plain
from proto.envelope import Envelope
from proto.errors import WireError
from proto.ids import LogIndex, Term, VoterId, is_voter_id
from proto.raft import ENTRIES_MAX, RAFT_MESSAGES, Append, EntryKind, LogEntry, RaftMessage
from proto.records import from_wire, prepare, to_wire

NUMBER_MAX = (1 << 63) - 1  # of a term, an index, a round: they are kept in SQLite's integers
DIGEST_BYTES = 32
TICKET_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftAddress:
    """A voter is a disk, not a node: a frame for a disk that was lost must not reach the one after it.
    `incarnation` is the group's: it grows when voters are made anew after a disaster, and the old ones are
    heard no more."""

    sender: VoterId
    to: VoterId
    incarnation: int

    def __post_init__(self) -> None:
        _check_address(self.sender, self.to, self.incarnation)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendColumns:
    """An Append as it travels. The entry at `previous_index` + 1 + i is the i-th of each column."""

    KIND: ClassVar[str] = Append.KIND
    term: Term
    previous_index: LogIndex
    previous_term: Term
    commit_index: LogIndex
    terms: tuple[Term, ...] = ()
    kinds: tuple[str, ...] = ()
    data: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.data)
        if count > ENTRIES_MAX or len(self.terms) != count or len(self.kinds) != count:
            raise ValueError("entries: too many, or columns of different lengths")
        _check_numbers(self.term, self.previous_index, self.previous_term, self.commit_index, *self.terms)
        if self.previous_index + count > NUMBER_MAX:
            raise ValueError("number out of range")
        if not _ENTRY_KINDS.keys() >= set(self.kinds):
            raise ValueError("kinds: one is unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotOffer:
    """The body of the method `log.snapshot`. `configuration` is the one in force at `index`, as an entry of
    that kind holds it, or empty. `digest`: blake2b-32 of the file. `ticket` opens `log.snapshot_bytes`."""

    sender: VoterId
    to: VoterId
    incarnation: int
    term: Term
    index: LogIndex
    mark_term: Term
    configuration: bytes
    size: int
    digest: bytes
    ticket: bytes

    def __post_init__(self) -> None:
        _check_address(self.sender, self.to, self.incarnation)
        _check_numbers(self.term, self.index, self.mark_term, self.size)
        if len(self.digest) != DIGEST_BYTES or len(self.ticket) != TICKET_BYTES:
            raise ValueError("digest or ticket of a wrong length")


KINDS: dict[str, type[RaftMessage | AppendColumns]] = {
    **{kind.KIND: kind for kind in RAFT_MESSAGES},
    Append.KIND: AppendColumns,
}


def raft_body(address: RaftAddress, message: RaftMessage) -> dict[str, Plain]:
    """What the frame of `message` holds; its kind is the message's."""
    plain = to_wire(_columns(message) if isinstance(message, Append) else message)
    return cast(dict[str, Plain], to_wire(address) | plain)


def read_raft(envelope: Envelope) -> tuple[RaftAddress, RaftMessage]:
    """Raises WireError: `unknown_kind`, `bad_field`. Whether an Append is sound only the core can tell."""
    kind = KINDS.get(envelope.kind)
    if kind is None:
        raise WireError("unknown_kind", envelope.kind)
    address = from_wire(RaftAddress, envelope.body, envelope.kind)
    message: RaftMessage | AppendColumns = from_wire(kind, envelope.body, envelope.kind)
    if isinstance(message, AppendColumns):
        return address, _append(message)
    try:
        _check_numbers(*_numbers[kind](message))
    except ValueError as error:
        raise WireError("bad_field", f"{envelope.kind}: {error}") from error
    return address, message


def _columns(append: Append) -> AppendColumns:
    return AppendColumns(
        term=append.term,
        previous_index=append.previous_index,
        previous_term=append.previous_term,
        commit_index=append.commit_index,
        terms=tuple([entry.term for entry in append.entries]),
        kinds=tuple([entry.kind.value for entry in append.entries]),
        data=tuple([entry.data for entry in append.entries]),
    )


def _append(columns: AppendColumns) -> Append:
    first = columns.previous_index + 1
    return Append(
        term=columns.term,
        previous_index=columns.previous_index,
        previous_term=columns.previous_term,
        commit_index=columns.commit_index,
        entries=tuple(
            [
                LogEntry(index=LogIndex(index), term=term, kind=_ENTRY_KINDS[kind], data=data)
                for index, (term, kind, data) in enumerate(
                    zip(columns.terms, columns.kinds, columns.data, strict=True), first
                )
            ]
        ),
    )


def _numbers_of(kind: type) -> Callable[[Any], tuple[int, ...]]:
    """All of them in one look: the messages check nothing themselves, for the core makes them, too."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind) if hints[field.name] in (int, Term, LogIndex)]
    read: Callable[[Any], tuple[int, ...]] = attrgetter("term", *names)  # two at least: a tuple always
    return read


def _check_numbers(*numbers: int) -> None:
    if min(numbers) < 0 or max(numbers) > NUMBER_MAX:
        raise ValueError("number out of range")


def _check_address(sender: str, to: str, incarnation: int) -> None:
    if not is_voter_id(sender) or not is_voter_id(to):
        raise ValueError("sender, to: no voter ids")
    if not 1 <= incarnation <= NUMBER_MAX:
        raise ValueError("incarnation out of range")


_ENTRY_KINDS = {kind.value: kind for kind in EntryKind}
_numbers: dict[type, Callable[[Any], tuple[int, ...]]] = {kind: _numbers_of(kind) for kind in RAFT_MESSAGES}
prepare(RaftAddress, *KINDS.values())
