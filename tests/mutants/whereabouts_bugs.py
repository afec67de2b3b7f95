"""Bugs of what decides where servers may go: groups, aggregates, zones."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

GROUPS = "tests/contract/store/test_server_groups.py"
AGGREGATES = "tests/contract/store/test_aggregates.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/store/{file}", old=old, new=new, tests=tests)


WHEREABOUTS_BUGS = (
    bug(
        "a placement does not look at the server's group again",
        S,
        "apply/servers_act.py",
        "    need_policy(context, row.server_id, host)\n",
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
)
