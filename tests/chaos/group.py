"""Who holds the rows of a run, as the agents themselves say: by the log's voters, or, where the rows are in
a database, by the roles the members claim."""

from __future__ import annotations

import time
from typing import Any, Protocol

from fabric.errors import FabricError
from tests.chaos.bed import Bed, cloud_at, local, running

PATIENCE_S = 240.0  # the machine may be busy with other things
LOOK_S = 0.2
LAG_MAX = 50
SILENT_MAX_S = 5.0


class Group(Protocol):
    def leader(self) -> str | None:
        """Whoever leads or conducts; None while nobody can tell."""
        ...

    def complaint(self) -> str:
        """Why not all nodes are whole; "" when they are."""
        ...


class Voters:
    """The embedded log's."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed

    def rows(self) -> list[dict[str, Any]]:
        """As the leader sees them; none while nobody can tell."""
        for name in running(self._bed):
            try:
                found = local(self._bed, name).get("/voters")
            except (FabricError, OSError):
                continue
            if found["seen_from"] == "leader":
                return [row for row in found["voters"] if row["role"] in ("leader", "voter")]
        return []

    def leader(self) -> str | None:
        return next((str(row["node"]) for row in self.rows() if row["role"] == "leader"), None)

    def complaint(self) -> str:
        rows = self.rows()
        if {row["node"] for row in rows} != set(self._bed.names):
            return f"voters: {[(row['node'], row['role']) for row in rows]}"
        unwell = [row for row in rows if not _is_well(row)]
        return f"unwell: {unwell}" if unwell else ""


class Members:
    """Of a fabric whose rows are in a database that all of them use."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed

    def leader(self) -> str | None:
        for name in running(self._bed):
            try:
                rows = local(self._bed, name).get("/leaders")
            except (FabricError, OSError):
                continue
            held = [row for row in rows if row["role"] == "conductor"]
            if held:
                return str(max(held, key=lambda row: int(row["fence"]))["node"])
        return None

    def complaint(self) -> str:
        for name in self._bed.names:
            try:
                rows = local(self._bed, name).get("/members")
            except (FabricError, OSError) as error:
                return f"{name}: {error}"
            states = {row["name"]: row["state"] for row in rows}
            if states != dict.fromkeys(self._bed.names, "alive"):
                return f"{name} sees {states}"
        for name in self._bed.names:
            try:
                cloud_at(self._bed, name)
            except (FabricError, OSError) as error:
                return f"the API of {name}: {error}"
        return "" if self.leader() is not None else "nobody conducts"


def until_whole(group: Group, *, within_s: float = PATIENCE_S) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + within_s
    while complaint := group.complaint():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not whole within {within_s:.0f} s: {complaint}")
        time.sleep(LOOK_S)


def _is_well(row: dict[str, Any]) -> bool:
    return (
        row["state"] == "alive"
        and row["lag"] is not None
        and row["lag"] < LAG_MAX
        and row["silent_s"] < SILENT_MAX_S
    )
