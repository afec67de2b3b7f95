"""Bugs of the store's handlers and queries: what a command does to the rows, and what is read of them."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

ENGINE, SERVERS = "tests/contract/store/test_engine.py", "tests/contract/store/test_servers.py"
NETWORKS, NODES = "tests/contract/store/test_networks.py", "tests/contract/store/test_nodes.py"
LIMITS = "tests/contract/store/test_limits.py"
SERVER_QUERIES = "tests/contract/store/test_server_queries.py"
PREPARED = "tests/unit/store/test_prepared.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/store/{file}", old=old, new=new, tests=tests)


STORE_BUGS = (
    bug(
        "no request row is written, so a retry happens twice",
        S,
        "apply/entry.py",
        "        rows.write(_INSERT_REQUEST, new_requests)\n",
        "",
        ENGINE,
    ),
    bug(
        "twins in one group both happen",
        S,
        "apply/entry.py",
        "        seen[entry.request_id] = request\n",
        "",
        ENGINE,
    ),
    bug(
        "a request id is accepted again for another command",
        S,
        "apply/entry.py",
        'if bytes(seen["body_hash"]) != entry.body_hash:',
        "if False:",
        ENGINE,
    ),
    bug(
        "what a rejected command wrote stays",
        S,
        "apply/rows.py",
        '            self._driver.run("ROLLBACK TO SAVEPOINT entry", ())\n',
        "",
        SERVERS,
        ENGINE,
    ),
    bug(
        "an entry sees what was there before another entry of its group wrote",
        S,
        "apply/rows.py",
        "        self._forget_readers(statement.tables)\n",
        "",
        PREPARED,
    ),
    bug(
        "an entry sees what an undone one had written",
        S,
        "apply/rows.py",
        '            self._driver.run("RELEASE SAVEPOINT entry", ())\n            self._forget()\n',
        '            self._driver.run("RELEASE SAVEPOINT entry", ())\n',
        PREPARED,
    ),
    bug(
        "what a statement made on the way writes does not end what is kept",
        S,
        "apply/rows.py",
        "            self._forget_readers(tables_of(statement))\n",
        "",
        PREPARED,
    ),
    bug(
        "one undo for two entries",
        S,
        "apply/rows.py",
        "        self._is_in_entry = self._is_saved = False\n\n    def undo",
        "        self._is_in_entry = False\n\n    def undo",
        PREPARED,
    ),
    bug(
        "truth is written as it comes, and read as a number",
        S,
        "prepared.py",
        '(process := column["type"].dialect_impl(dialect).result_processor(dialect, None)) is not None',
        "(process := None) is not None",
        PREPARED,
    ),
    Bug(
        name="the server quota lets one too many in",
        harm=S,
        file="fabric/core/quotas/demand.py",
        old="used.get(name, 0) + wanted[name] > limit:",
        new="used.get(name, 0) + wanted[name] > limit + 1:",
        tests=(SERVERS,),
    ),
    bug(
        "a user's own limit stops nobody",
        S,
        "apply/quota.py",
        "    if own and _limits_any(own, wanted):\n",
        "    if False:\n",
        LIMITS,
    ),
    bug(
        "a project that goes leaves its users' limits behind",
        S,
        "apply/quota.py",
        "        context.write(delete(level2.user_quota_limits).where(_own.project_id == project_id))\n",
        "",
        LIMITS,
    ),
    bug(
        "the network quota lets one too many in",
        S,
        "apply/quota.py",
        "return used + adding > limit",
        "return used > limit",
        NETWORKS,
    ),
    bug(
        "capacity is not checked again when a server is placed",
        S,
        "apply/placing.py",
        "    need_room(context, host, server)\n",
        "",
        SERVERS,
    ),
    bug(
        "a disabled host is given servers at apply",
        S,
        "apply/placing.py",
        "if not host.enabled or host.forced_down:",
        "if host.forced_down:",
        SERVERS,
    ),
    bug(
        "fences are compared the wrong way",
        S,
        "apply/placing.py",
        "fence < grant.fence",
        "fence > grant.fence",
        SERVERS,
    ),
    bug(
        "a server expires before its deadline",
        S,
        "apply/servers_act.py",
        "if row.deadline_ms is None or context.time_ms < row.deadline_ms:",
        "if row.deadline_ms is None:",
        SERVERS,
    ),
    bug(
        "an old generation may still place a server",
        S,
        "apply/server_rows.py",
        "if row.generation != read_generation:",
        "if row.generation < read_generation:",
        SERVERS,
    ),
    bug(
        "deleting a server leaves its ports",
        S,
        "apply/server_rows.py",
        "    release_ports(context, server_id)\n",
        "",
        SERVERS,
    ),
    bug(
        "a change does not bump changed_index, so its host never hears of it",
        L,
        "apply/server_rows.py",
        ', "changed_index": context.index}',
        "}",
        SERVER_QUERIES,
    ),
    bug(
        "two ports may get one address",
        S,
        "apply/ports.py",
        '        if context.exists(_HOLDER, {"subnet_id": choice.subnet_id, "address": address}):\n',
        "        if False:\n",
        NETWORKS,
    ),
    bug(
        "a report about work that was superseded is believed",
        S,
        "apply/server_rows.py",
        "if generation != row.action_generation:",
        "if generation > row.action_generation:",
        SERVERS,
    ),
    bug(
        "any host may report any server",
        S,
        "apply/server_rows.py",
        "    if row.host_id != host_id:\n",
        "    if False:\n",
        SERVERS,
    ),
    bug(
        "a join token is never used up",
        S,
        "apply/nodes.py",
        "uses_left=token.uses_left - 1",
        "uses_left=token.uses_left",
        NODES,
    ),
)
