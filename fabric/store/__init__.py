"""The truth on disk: an append-only log, tables made from it by deterministic handlers, reads over them.

Theory of operation. `log_store` keeps commands, hash-chained, fsynced in groups: it is the durable
truth. `apply` folds them into SQL rows, one handler for each command, and writes `applied_index` in the same
transaction. `voter_log`, `voter_tables` and `voter_start` are the same for one of several voters, which no
agent runs yet. `query` answers reads from those rows. `replicated` joins the three into one engine (today
with one voter); `postgres` runs the same handlers in PostgreSQL transactions instead. Rows never leave this
package: it takes and returns core dataclasses. Source: design/log.md section 4.
"""
