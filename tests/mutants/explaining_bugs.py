"""Bugs of what is told about placement, and to whom; and of what is proposed."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

WHY, EXPLAIN = "tests/api/own/test_why_api.py", "tests/api/own/test_explain_api.py"
UNIT = "tests/unit/core/placement"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


EXPLAINING_BUGS = (
    bug(
        "users are told each host's verdict",
        S,
        "control/explanation_view.py",
        "    if not is_admin:\n        first = ",
        "    if False:\n        first = ",
        WHY,
    ),
    bug(
        "users are told what only an operator could change",
        S,
        "control/explanation_view.py",
        "[each for each in found if not each.is_admins][:ADVICE_MAX]",
        "list(found)[:ADVICE_MAX]",
        WHY,
    ),
    bug(
        "users are told the host that an admin named",
        S,
        "control/explanation_view.py",
        "    if not is_admin:\n        return shown\n",
        "",
        WHY,
    ),
    bug(
        "anybody may ask why a server is not on some host",
        S,
        "control/explanations.py",
        '    policy.require(caller, "fabric:servers:why_not")\n',
        "",
        WHY,
    ),
    bug(
        "users read what hosts have with extra specs of their own",
        S,
        "control/explanations.py",
        "    if wanted.extra_specs and not caller.is_admin:\n",
        "    if False:\n",
        EXPLAIN,
    ),
    bug(
        "a server stands in its own way",
        L,
        "control/explanations.py",
        "[request], except_server=server.server_id)",
        "[request])",
        WHY,
    ),
    bug(
        "a server stands in its own way in a table that is kept",
        L,
        "control/explanations.py",
        "if server.host_id in table.place:",
        "if server.host_id == server.server_id:",
        WHY,
    ),
    bug(
        "a host is counted for each of its refusals",
        L,
        "core/placement/tally.py",
        "verdict.refusals[:1] if first_only else verdict.refusals",
        "verdict.refusals",
        f"{UNIT}/test_tally.py",
    ),
    bug(
        "a limit on servers a host is not counted with",
        L,
        "core/placement/room.py",
        "servers=facts.servers + count, held",
        "servers=facts.servers, held",
        f"{UNIT}/test_room.py",
    ),
    bug(
        "a move is proposed to the host that the server is on",
        L,
        "core/placement/rebalance.py",
        "request.ignored_hosts | {host_id}",
        "request.ignored_hosts",
        f"{UNIT}/test_rebalance.py",
    ),
    bug(
        "moves are proposed as if those before them were not made",
        S,
        "core/placement/rebalance.py",
        "        claim(request, table.hosts[target].host.host_id, table)\n",
        "",
        f"{UNIT}/test_rebalance.py",
    ),
    bug(
        "somebody is told to enable a host that is not needed",
        L,
        "core/placement/explain.py",
        "if not any(less <= asked for less, _ in kept):",
        "if True:",
        f"{UNIT}/test_explain.py",
    ),
)
