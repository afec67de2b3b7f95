"""Bugs of what decides where servers may go: groups, aggregates, zones."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

GROUPS = "tests/contract/store/test_server_groups.py"
AGGREGATES = "tests/contract/store/test_aggregates.py"
BUILDS = "tests/contract/store/test_failed_builds.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/store/{file}", old=old, new=new, tests=tests)


WHEREABOUTS_BUGS = (
    bug(
        "servers whose extra specs say otherwise are counted by their numbers",
        S,
        "apply/room.py",
        "    return added(used, beyond_sums(context.level, rows)) if rows else used\n",
        "    return used\n",
        "tests/contract/store/test_claims.py",
    ),
    bug(
        "a placement does not look at the server's group again",
        S,
        "apply/placing.py",
        "    need_policy(context, server.server_id, host)\n",
        "",
        GROUPS,
    ),
    bug(
        "one more server of an anti-affinity group is put on a host than the rule says",
        S,
        "apply/server_groups.py",
        "        if here >= most:\n",
        "        if here > most:\n",
        GROUPS,
    ),
    bug(
        "a removed server stays a member of its group",
        L,
        "apply/server_rows.py",
        "        leave_group(context, server_id)\n",
        "",
        GROUPS,
    ),
    bug(
        "a group takes members without a limit",
        S,
        "apply/server_groups.py",
        "    if over_limit(context, limit, level2.server_group_members, _M.group_id == group_id):\n",
        "    if False:\n",
        GROUPS,
    ),
    bug(
        "a host that leaves an aggregate takes its servers into another zone",
        S,
        "apply/aggregates.py",
        "        _check_servers_stay(context, after, host, refuse)\n",
        "",
        AGGREGATES,
    ),
    bug(
        "a host is in two zones",
        S,
        "apply/aggregates.py",
        "        _check_elsewhere(context, row, [host], row.availability_zone, refuse)\n",
        "",
        AGGREGATES,
    ),
    bug(
        "lists of hosts do not know of aggregates' zones",
        L,
        "query/nodes.py",
        'zone_at(level).label("zone")',
        'zone_at(1).label("zone")',
        AGGREGATES,
    ),
    bug(
        "a removed host stays in its aggregates",
        L,
        "apply/nodes.py",
        "    leave_aggregates(context, command.node_id)\n",
        "",
        AGGREGATES,
    ),
    bug(
        "a server goes elsewhere while its host may still have something of it",
        S,
        "apply/servers_host.py",
        "        if command.left_nothing:\n",
        "        if True:\n",
        BUILDS,
    ),
    bug(
        "a server is tried on one host after another for ever",
        L,
        "apply/failed_builds.py",
        "context.number(_COUNT, tried) + 1 >= TRIES_MAX or not",
        "not",
        BUILDS,
    ),
    Bug(
        name="a build that was given up is done by a later life",
        harm=S,
        file="fabric/compute/build_server.py",
        old="        await self._need_not_given_up(assigned)\n",
        new="",
        tests=("tests/unit/compute/test_reconcile.py",),
    ),
    Bug(
        name="an undo that left something counts as having left nothing",
        harm=S,
        file="fabric/compute/build_server.py",
        old="            return False\n        return True\n\n    async def _give_up",
        new="            return True\n        return True\n\n    async def _give_up",
        tests=("tests/unit/compute/test_reconcile.py", "tests/sim/test_control_path.py"),
    ),
    Bug(
        name="the next best host is not tried",
        harm=L,
        file="fabric/runtime/scheduler_loop.py",
        old="                    if error.reason in _OTHER_HOST and command is not commands[-1]:\n",
        new="                    if False:\n",
        tests=("tests/unit/runtime/test_scheduler_loop.py",),
    ),
    Bug(
        name="claims of a round are not counted for a server group",
        harm=S,
        file="fabric/core/placement/host_table.py",
        old="            counts[place] = counts.get(place, 0) + 1\n",
        new="            pass\n",
        tests=("tests/property/test_placement.py",),
    ),
    Bug(
        name="an aggregate's multiplier counts for every host",
        harm=L,
        file="fabric/core/placement/weigh.py",
        old="    return np.where(np.isinf(least), default, least)\n",
        new="    return np.full(len(table), least.min())\n",
        tests=("tests/unit/core/placement/test_choose.py",),
    ),
)
