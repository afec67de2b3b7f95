"""The truth on disk: an append-only log, tables made from it by deterministic handlers, reads over them.

Theory of operation. `voter_log` keeps a voter's entries, hash-chained, fsynced in groups: it is the durable
truth. `voter_tables` folds committed ones into SQL rows by `apply`, one deterministic handler a command, and
writes the position in the same transaction. `voter_start` makes the two one history after a crash,
`voter_snapshots` carries copies of the tables between voters, `voter_engine` joins them on an event loop.
`query` answers reads from those rows. `postgres` runs the same handlers in PostgreSQL transactions instead.
Rows never leave this package: it takes and returns core dataclasses. Source: design/log.md section 4.
"""
