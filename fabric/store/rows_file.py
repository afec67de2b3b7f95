"""All rows of a fabric in one file that belongs to no engine: `proto/SPEC.md`, section 9.

    file   = header *( table *row ) end
    record = framed as all records on disk are (`framing.py`), magic ROWS, body in msgpack
    header = ["header", {form, fabric_id, incarnation, position, engine, made_ms, software}]
    table  = ["table", name, [column, ...]]
    row    = ["row", value, ...]           in the order of the columns, rows in the order of their keys
    end    = ["end", rows, digest of the rows, BLAKE2b-256 of the file up to here]

Written and read in one pass, one row in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import IO

from fabric.store.errors import SnapshotRefusedError
from fabric.store.framing import HASH_BYTES, PREFIX_BYTES, body_bytes, frame, unframe
from fabric.store.plain_rows import Row
from fabric.store.row_digest import ROW_BYTES_MAX, RowDigest
from proto.codec import Plain, pack, unpack
from proto.errors import WireError
from proto.ids import FabricId

MAGIC = b"ROWS"
FORM = 1
RECORD_BYTES_MAX = ROW_BYTES_MAX + 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """`position` is that row of the source: index, term, stamp of the last entry, and what the schema is."""

    form: int
    fabric_id: FabricId
    incarnation: int
    position: Mapping[str, Plain]
    engine: str  # where the rows come from: a dialect's name
    made_ms: int
    software: str

    def __post_init__(self) -> None:
        if self.form != FORM:
            raise ValueError(f"its form is {self.form}, this program knows {FORM}")
        if not all(type(value) is int for value in (self.index, self.term, self.entry_ms, self.incarnation)):
            raise ValueError("a number is none")

    @property
    def index(self) -> int:
        return self.position["applied_index"]  # type: ignore[return-value]

    @property
    def term(self) -> int:
        return self.position["applied_term"]  # type: ignore[return-value]

    @property
    def entry_ms(self) -> int:
        """The stamp of the last entry: what came later is not in the file."""
        return self.position["time_ms"]  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class TableBegins:
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    rows: int
    digest: bytes


def write_rows(out: IO[bytes], header: Header, content: Iterable[TableBegins | Row]) -> Sum:
    """Raises OSError, and what `content` raises."""
    whole, rows, digest = blake2b(digest_size=HASH_BYTES), 0, RowDigest()

    def put(*words: Plain) -> None:
        record = frame(MAGIC, pack(list(words), limit=RECORD_BYTES_MAX))
        whole.update(record)
        out.write(record)

    put("header", asdict(header))
    for item in content:
        if isinstance(item, TableBegins):
            digest.begin(item.name)
            put("table", item.name, list(item.columns))
        else:
            digest.add(item)
            put("row", *item)
            rows += 1
    put("end", rows, digest.digest(), whole.digest())
    return Sum(rows, digest.digest())


class RowsReader:
    """`header` first, then `content` once to its end, then `sum`. Each raises SnapshotRefusedError: the file
    is none of these, or damaged; OSError."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._whole = blake2b(digest_size=HASH_BYTES)
        self._sum: Sum | None = None
        match self._next():
            case ["header", dict(fields)]:
                try:
                    self.header = Header(**fields)  # type: ignore[arg-type]
                except (TypeError, KeyError, ValueError) as error:
                    raise SnapshotRefusedError(f"this is no file of a fabric's rows: {error}") from error
            case _:
                raise SnapshotRefusedError("this is no file of a fabric's rows")

    @property
    def sum(self) -> Sum:
        assert self._sum is not None, "read to the end first"
        return self._sum

    def content(self) -> Iterator[TableBegins | Row]:
        """Ends only where the file is whole and sound, so whoever keeps what it gave waits for that."""
        rows, digest = 0, RowDigest()
        while True:
            before = self._whole.digest()
            match self._next():
                case ["table", str(name), [*columns]]:
                    digest.begin(name)
                    yield TableBegins(name, tuple(map(str, columns)))
                case ["row", *row]:
                    digest.add(row)
                    rows += 1
                    yield row
                case ["end", int(count), bytes(of_rows), bytes(of_file)]:
                    if (count, of_rows, of_file) != (rows, digest.digest(), before):
                        raise SnapshotRefusedError("the rows in the file are not those that were written")
                    if self._source.read(1):
                        raise SnapshotRefusedError("something follows the end of the file's rows")
                    self._sum = Sum(rows, of_rows)
                    return
                case _:
                    raise SnapshotRefusedError("a record in the file is none of its kind")

    def _next(self) -> Plain:
        prefix = self._source.read(PREFIX_BYTES)
        length = body_bytes(MAGIC, prefix)
        if length is None or length > RECORD_BYTES_MAX:
            raise SnapshotRefusedError("the file is no file of a fabric's rows, or it is damaged or cut off")
        record = prefix + self._source.read(length)
        body = unframe(MAGIC, record, 0)
        if body is None:
            raise SnapshotRefusedError("the file is damaged or cut off")
        self._whole.update(record)
        try:
            return unpack(body, limit=RECORD_BYTES_MAX)
        except WireError as error:
            raise SnapshotRefusedError(f"a record in the file is malformed: {error}") from error
