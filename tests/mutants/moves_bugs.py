"""Bugs of servers that go from host to host."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

ROWS = "tests/contract/store/test_moves.py"
DISKS = "tests/unit/compute/test_carry.py"
DECIDE, RECONCILE = "tests/unit/compute/test_decide.py", "tests/unit/compute/test_reconcile.py"
SCHEDULER = "tests/unit/runtime/test_scheduler_loop.py"
NUDGER = "tests/unit/runtime/test_host_calls.py"
FILTERS = "tests/unit/core/placement/test_filters.py"
API = "tests/api/compute/test_moves_api.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


MOVES_BUGS = (
    bug(
        "what is held for a server on its way does not count against room",
        S,
        "store/apply/held.py",
        "        if row.server_id != except_server:\n",
        "        if False:\n",
        ROWS,
    ),
    bug(
        "a move that is over goes on holding room",
        L,
        "store/apply/move_rows.py",
        '{"is_open": False, "held_host_id": None}',
        '{"is_open": False}',
        ROWS,
    ),
    bug(
        "the host that a server left drops its disks before the move is over",
        S,
        "compute/reconcile.py",
        "        known = rows.server_ids | rows.parked.keys() | rows.arriving_ids\n",
        "        known = rows.server_ids | rows.arriving_ids\n",
        RECONCILE,
    ),
    bug(
        "a guest whose row went to another host goes on running",
        S,
        "compute/reconcile.py",
        "                for server_id in self._running_though_parked():\n",
        "                for server_id in ():\n",
        RECONCILE,
    ),
    bug(
        "any host may read the disks of a server that leaves",
        S,
        "compute/disk_service.py",
        "        if goes_to != sender:\n",
        "        if goes_to is None:\n",
        DISKS,
    ),
    bug(
        "a disk of a former stay is taken for the one that comes",
        S,
        "compute/build_server.py",
        "            if (await self._notes.read(server_id)).move_id == move.move_id:\n",
        "            if move.move_id:\n",
        RECONCILE,
    ),
    bug(
        "a disk that ended too soon is kept",
        S,
        "compute/carry.py",
        '        raise DiskNotBroughtError(f"disk {name}: it ended too soon")\n',
        "",
        DISKS,
    ),
    bug(
        "a host that sends more than it said fills the other's disk",
        S,
        "compute/carry.py",
        "                if at + len(chunk) - OFFSET.size > limit:\n",
        "                if False:\n",
        DISKS,
    ),
    bug(
        "a server may be moved to where it is",
        S,
        "core/placement/request.py",
        "        ignored_hosts |= {move.source_host_id}\n",
        "        pass\n",
        SCHEDULER,
        ROWS,
    ),
    bug(
        "a server moves to a host whose program knows no moves",
        S,
        "runtime/scheduler_loop.py",
        "        requests = self._to_able_hosts(requests)\n",
        "",
        SCHEDULER,
    ),
    bug(
        "a server's own place counts as another member's",
        L,
        "core/placement/filters/server_groups.py",
        "if place != own or count > 1}",
        "}",
        FILTERS,
        "tests/property/test_placement.py",
    ),
    bug(
        "a server that goes back is started at both hosts",
        S,
        "compute/decide.py",
        "Work.START if server.host_id == move.source_host_id else Work.LEAVE",
        "Work.START",
        DECIDE,
    ),
    bug(
        "the other end of a move is not told of it",
        L,
        "runtime/host_calls.py",
        "        self._hosts.update(moving)\n",
        "",
        NUDGER,
    ),
    bug(
        "what a step lets go of is not read anew",
        L,
        "store/apply/move_steps.py",
        "    return sorted({move.source_host_id, move.dest_host_id} - {None})\n",
        "    return [move.source_host_id]\n",
        ROWS,
    ),
    bug(
        "a server is evacuated from a host that is up",
        S,
        "control/moves.py",
        "    if is_host_up(cloud, source):\n",
        "    if False:\n",
        f"{API}::test_nothing_is_evacuated_from_a_host_that_is_up",
    ),
    bug(
        "a host whose program knows no moves is to keep a server's disks",
        L,
        "control/moves.py",
        "    need_able(cloud, source)\n",
        "",
        f"{API}::test_a_source_that_is_down_or_too_old_gives_no_disks",
    ),
)
