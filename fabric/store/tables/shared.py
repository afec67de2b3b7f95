"""What only a database that several agents share needs beside the rows: a feed for who did not propose, and
leases. Not part of what an export or a digest of the rows holds."""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, MetaData, Table

from fabric.store.tables.base import INT, TEXT, JsonText, metadata

shared_metadata = MetaData(naming_convention=metadata.naming_convention)

feed = Table(  # the last entries, one row an index and no index left out, so that a gap is seen
    "feed",
    shared_metadata,
    Column("log_index", INT, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),  # the encoded command; empty where nothing was done
    Column("result", JsonText, nullable=True),  # as its proposer was told
)

role_leases = Table(  # who may take a role now; the grant itself, with its fence, is in `role_grants`
    "role_leases",
    shared_metadata,
    Column("role", TEXT, primary_key=True),
    Column("node_id", TEXT, nullable=False),  # "" before the first taking
    Column("epoch", INT, nullable=False),  # one more with each taking
    Column("until_ms", INT, nullable=False),  # by the database's clock
)
