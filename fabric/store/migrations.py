"""Tables from before levels made into the baseline, a step a version, forwards only. No step is added any
more: what comes after the baseline is a revision (`fabric/store/revisions/`).

A step runs in the transaction that opens the store, before anything is applied, so a crash repeats it whole.
It speaks SQL of its own time: the table definitions it would import may have moved on since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, text

Step = Callable[[Connection], None]


def _nodes_with_generations(connection: Connection) -> None:
    """1 to 2: certificates have generations, nodes their first state, and removed nodes are remembered."""
    is_postgres = _is_postgres(connection)
    blob, empty = ("BYTEA", "''") if is_postgres else ("BLOB", "x''")
    words = 'TEXT COLLATE "C"' if is_postgres else "TEXT"
    for column in (
        "generation BIGINT NOT NULL DEFAULT 1",
        f"body {blob} NOT NULL DEFAULT {empty}",
        f"signature {blob} NOT NULL DEFAULT {empty}",
    ):
        connection.execute(text(f"ALTER TABLE nodes ADD COLUMN {column}"))
    connection.execute(
        text(
            f"CREATE TABLE removed_nodes (node_id {words} NOT NULL, name {words} NOT NULL, "
            f"curve_public {blob} NOT NULL, removed_ms BIGINT NOT NULL, removal_body {blob} NOT NULL, "
            f"removal_signature {blob} NOT NULL, CONSTRAINT pk_removed_nodes PRIMARY KEY (node_id))"
        )
    )
    connection.execute(
        text("CREATE INDEX ix_removed_nodes_curve_public ON removed_nodes (curve_public)"),
    )


def _tokens_with_door_keys(connection: Connection) -> None:
    """2 to 3: a join token remembers the key of the door it opens."""
    column = "BYTEA NOT NULL DEFAULT ''" if _is_postgres(connection) else "BLOB NOT NULL DEFAULT x''"
    connection.execute(text(f"ALTER TABLE join_tokens ADD COLUMN door_public {column}"))


def _position_of_a_voter(connection: Connection) -> None:
    """3 to 4: the position names the term and the voters, so that the tables are a snapshot by themselves."""
    blob = "BYTEA NOT NULL DEFAULT ''" if _is_postgres(connection) else "BLOB NOT NULL DEFAULT x''"
    for column in ("applied_term BIGINT NOT NULL DEFAULT 0", f"configuration {blob}"):
        connection.execute(text(f"ALTER TABLE position ADD COLUMN {column}"))


def _wishes_for_voters(connection: Connection) -> None:
    """4 to 5: the operator's word on who votes."""
    words = 'TEXT COLLATE "C"' if _is_postgres(connection) else "TEXT"
    connection.execute(
        text(
            f"CREATE TABLE voter_wishes (node_id {words} NOT NULL, wish {words} NOT NULL, "
            "CONSTRAINT pk_voter_wishes PRIMARY KEY (node_id))"
        )
    )


def _levels(connection: Connection) -> None:
    """5 to 6: the level, so that whatever comes later is done by an entry."""
    connection.execute(text("ALTER TABLE position ADD COLUMN level BIGINT NOT NULL DEFAULT 1"))


def _is_postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


STEPS: Mapping[int, Step] = {  # from which version
    1: _nodes_with_generations,
    2: _tokens_with_door_keys,
    3: _position_of_a_voter,
    4: _wishes_for_voters,
    5: _levels,
}
