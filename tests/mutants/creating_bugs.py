"""Bugs of servers that are made together, and of what a flavor says that they may not be or have."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

ALIKE, CREATE = "tests/contract/store/test_servers_alike.py", "tests/api/compute/test_server_create_api.py"
PINNING = "tests/contract/store/test_pinning.py"
FILTERS, EXPLAIN = "tests/unit/core/placement/test_filters.py", "tests/unit/core/placement/test_explain.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


CREATING_BUGS = (
    bug(
        "the quota is asked for one of many servers",
        S,
        "store/apply/quota.py",
        "    if servers > 1:\n",
        "    if False:\n",
        ALIKE,
    ),
    bug(
        "servers made together have one launch index",
        L,
        "store/apply/servers_create.py",
        "launch_index=command.launch_index + number,",
        "launch_index=command.launch_index,",
        ALIKE,
    ),
    bug(
        "what was made of a refused request is left behind",
        S,
        "control/server_proposals.py",
        "        await _undo(cloud, caller, made)\n        raise\n",
        "        raise\n",
        CREATE,
    ),
    bug(
        "who loses a race for the quota gives up, though fewer would do",
        L,
        "control/server_proposals.py",
        "                if races == QUOTA_RACES_MAX and least > 0:\n",
        "                if True:\n",
        CREATE,
    ),
    bug(
        "servers made together draw the same addresses",
        L,
        "control/server_proposals.py",
        "            taken |= {choice for spec in ports.new for choice in spec.fixed_ips}\n",
        "            taken |= set()\n",
        CREATE,
    ),
    bug(
        "a server is pinned to a zone that it is not in",
        S,
        "store/apply/pinning.py",
        "    if zone != current:\n",
        "    if False:\n",
        PINNING,
    ),
    bug(
        "a server is pinned while it moves",
        S,
        "store/apply/pinning.py",
        "    if open_move(context, row) is not None:\n",
        "    if False:\n",
        PINNING,
    ),
    bug(
        "what nothing can be called is asked of nobody",
        S,
        "core/placement/filters/extra_spec_names.py",
        "return bool(request.misnamed)",
        "return False",
        FILTERS,
    ),
    bug(
        "of what lacks in several ways one is told",
        L,
        "core/placement/explain.py",
        "    for changes in unfinished:\n",
        "    for changes in ():\n",
        EXPLAIN,
    ),
    bug(
        "one cell does for all nodes of a guest",
        S,
        "core/placement/cell_columns.py",
        "passing &= np.bincount(self._owner[would_do], minlength=self._count) >= needed",
        "passing &= np.bincount(self._owner[would_do], minlength=self._count) > 0",
        "tests/property/test_room_masks.py",
    ),
)
