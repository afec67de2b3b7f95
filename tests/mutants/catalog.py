"""The bugs. Each is one that this program, or one like it, could really have had.

To add one: the smallest exact replacement, the files most likely to kill it, quickest first. A bug that
survives is a test to write, not a row to delete.
"""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm
from tests.mutants.membership_bugs import MEMBERSHIP_BUGS
from tests.mutants.raft_bugs import RAFT_BUGS
from tests.mutants.voter_bugs import VOTER_BUGS

S, L = Harm.SAFETY, Harm.LIVENESS

LOG, REPLICATED = "tests/unit/store/test_log_store.py", "tests/unit/store/test_replicated.py"
ENGINE, SERVERS = "tests/contract/store/test_engine.py", "tests/contract/store/test_servers.py"
NETWORKS, NODES = "tests/contract/store/test_networks.py", "tests/contract/store/test_nodes.py"
SERVER_QUERIES = "tests/contract/store/test_server_queries.py"
STATE_SERVICE = "tests/unit/runtime/test_state_service.py"
RECONCILE, ASSIGNMENTS = "tests/unit/compute/test_reconcile.py", "tests/unit/compute/test_assignments.py"
HOST_PARTS = "tests/unit/compute/test_host_parts.py"
FILTERS, SCHEDULER = "tests/unit/core/placement/test_filters.py", "tests/unit/runtime/test_scheduler_loop.py"
CHANGES_API = "tests/api/compute/test_server_changes_api.py"
TOKENS = "tests/unit/control/test_tokens.py"
ENVELOPE, CODEC = "tests/unit/proto/test_envelope.py", "tests/unit/proto/test_codec.py"
NET_PLAN = "tests/unit/netplug/test_plan.py"
RPC = "tests/contract/mesh/test_rpc.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=file, old=old, new=new, tests=tests)


STORE = (
    bug(
        "a write is acknowledged before it is fsynced",
        S,
        "fabric/store/log_store.py",
        "        os.fdatasync(self._descriptor)\n        self._offset += len(data)",
        "        self._offset += len(data)",
        LOG,
        REPLICATED,
    ),
    bug(
        "after a failed fsync the log takes more",
        S,
        "fabric/store/log_store.py",
        "            self._failed = error\n",
        "",
        LOG,
    ),
    bug(
        "a torn tail is not cut off",
        S,
        "fabric/store/log_store.py",
        "                cut_tail(path, end.offset, self._segment_bytes)\n",
        "",
        LOG,
    ),
    bug(
        "damage to a durable entry counts as a torn tail",
        S,
        "fabric/store/log_segment.py",
        "    if durable_index > end.index:\n",
        "    if False:\n",
        LOG,
    ),
    bug(
        "rows and applied_index are two transactions",
        S,
        "fabric/store/replicated.py",
        "outcomes = apply_group(connection, [entry for entry, _ in entries])\n",
        "outcomes = apply_group(connection, [entry for entry, _ in entries])\n"
        "        with connection.begin():\n",
        REPLICATED,
    ),
    bug(
        "what the tables lack after a crash is not applied",
        S,
        "fabric/store/replicated.py",
        "        if self._log.last_index > position.applied_index:\n",
        "        if False:\n",
        REPLICATED,
    ),
    bug(
        "the log is compacted although the tables are not on disk yet",
        S,
        "fabric/store/replicated.py",
        "        if checkpoint(self._connection):\n",
        "        if checkpoint(self._connection) or True:\n",
        REPLICATED,
    ),
    bug(
        "the log's clock goes back with the machine's",
        S,
        "fabric/store/replicated.py",
        "self._time_ms = max(self._time_ms, self._clock.wall_ms())",
        "self._time_ms = self._clock.wall_ms()",
        ENGINE,
    ),
    bug(
        "no request row is written, so a retry happens twice",
        S,
        "fabric/store/apply/entry.py",
        "        connection.execute(_INSERT_REQUEST, new_requests)\n",
        "",
        ENGINE,
    ),
    bug(
        "twins in one group both happen",
        S,
        "fabric/store/apply/entry.py",
        "        seen[entry.request_id] = request\n",
        "",
        ENGINE,
    ),
    bug(
        "a request id is accepted again for another command",
        S,
        "fabric/store/apply/entry.py",
        'if bytes(seen["body_hash"]) != entry.body_hash:',
        "if False:",
        ENGINE,
    ),
    bug(
        "what a rejected command wrote stays",
        S,
        "fabric/store/apply/entry.py",
        '    connection.exec_driver_sql("ROLLBACK TO SAVEPOINT entry")\n',
        "",
        SERVERS,
        ENGINE,
    ),
    bug(
        "the server quota lets one too many in",
        S,
        "fabric/store/apply/quota.py",
        "used[name] + wanted[name] > limits[name]",
        "used[name] + wanted[name] > limits[name] + 1",
        SERVERS,
    ),
    bug(
        "the network quota lets one too many in",
        S,
        "fabric/store/apply/quota.py",
        "return used + adding > limit",
        "return used > limit",
        NETWORKS,
    ),
    bug(
        "capacity is not checked again when a server is placed",
        S,
        "fabric/store/apply/servers_act.py",
        "    _need_capacity(context, host, row)\n",
        "",
        SERVERS,
    ),
    bug(
        "a disabled host is given servers at apply",
        S,
        "fabric/store/apply/servers_act.py",
        "if not host.enabled or host.forced_down:",
        "if host.forced_down:",
        SERVERS,
    ),
    bug(
        "fences are compared the wrong way",
        S,
        "fabric/store/apply/servers_act.py",
        "fence < grant.fence",
        "fence > grant.fence",
        SERVERS,
    ),
    bug(
        "a server expires before its deadline",
        S,
        "fabric/store/apply/servers_act.py",
        "if row.deadline_ms is None or context.time_ms < row.deadline_ms:",
        "if row.deadline_ms is None:",
        SERVERS,
    ),
    bug(
        "an old generation may still place a server",
        S,
        "fabric/store/apply/server_rows.py",
        "if row.generation != read_generation:",
        "if row.generation < read_generation:",
        SERVERS,
    ),
    bug(
        "deleting a server leaves its ports",
        S,
        "fabric/store/apply/server_rows.py",
        "    release_ports(context, server_id)\n",
        "",
        SERVERS,
    ),
    bug(
        "a change does not bump changed_index, so its host never hears of it",
        L,
        "fabric/store/apply/server_rows.py",
        ', "changed_index": context.index}',
        "}",
        SERVER_QUERIES,
    ),
    bug(
        "two ports may get one address",
        S,
        "fabric/store/apply/ports.py",
        "        if subnet.port_id is not None:\n",
        "        if False:\n",
        NETWORKS,
    ),
    bug(
        "a report about work that was superseded is believed",
        S,
        "fabric/store/apply/servers_host.py",
        "if command.generation != row.action_generation:",
        "if command.generation > row.action_generation:",
        SERVERS,
    ),
    bug(
        "any host may report any server",
        S,
        "fabric/store/apply/servers_host.py",
        "    if row.host_id != host_id:\n",
        "    if False:\n",
        SERVERS,
    ),
    bug(
        "a join token is never used up",
        S,
        "fabric/store/apply/nodes.py",
        "uses_left=token.uses_left - 1",
        "uses_left=token.uses_left",
        NODES,
    ),
)

RUNTIME = (
    bug(
        "a host may speak for another",
        S,
        "fabric/runtime/state_service.py",
        "if command.host_id != peer:",
        "if False:",
        STATE_SERVICE,
    ),
    bug(
        "a host may read another's secrets",
        S,
        "fabric/runtime/state_service.py",
        "if query.host_id != peer:",
        "if False:",
        STATE_SERVICE,
    ),
    bug(
        "a host may spend another's request ids",
        S,
        "fabric/runtime/state_service.py",
        'RequestId(f"{peer}:{request_id}")',
        "RequestId(request_id)",
        STATE_SERVICE,
    ),
    bug(
        "the reaper never finds anything overdue",
        L,
        "fabric/runtime/reaper.py",
        "ListOverdue(now_ms=now_ms,",
        "ListOverdue(now_ms=0,",
        "tests/unit/runtime/test_reaper.py",
    ),
    bug(
        "a placement that lost a race is not tried again",
        L,
        "fabric/runtime/scheduler_loop.py",
        '                result.retry += 1\n                if error.reason == "fenced":',
        '                if error.reason == "fenced":',
        SCHEDULER,
    ),
    bug(
        "a lost answer is asked for again under another request id",
        S,
        "fabric/runtime/remote_state.py",
        "            pause_ms = min(RETRY_MS_MAX, pause_ms * 2)\n",
        "            pause_ms = min(RETRY_MS_MAX, pause_ms * 2)\n"
        '            body["request_id"] = f"{request_id}/{pause_ms}"\n',
        STATE_SERVICE,
    ),
    bug(
        "anybody may answer somebody else's call",
        S,
        "fabric/mesh/rpc.py",
        "if waiting is None or waiting.to != sender:",
        "if waiting is None:",
        RPC,
    ),
)

COMPUTE = (
    bug(
        "after a pull of changes only, the unchanged guests are removed as unknown",
        S,
        "fabric/compute/assignments.py",
        "self.server_ids = frozenset(page.server_ids)",
        "self.server_ids = frozenset(changed)",
        ASSIGNMENTS,
        RECONCILE,
    ),
    bug(
        "an answer cut into pages ends with the first",
        S,
        "fabric/compute/assignments.py",
        "            if not page.more:\n",
        "            if True:\n",
        ASSIGNMENTS,
        RECONCILE,
    ),
    bug(
        "another host's assignments are obeyed",
        S,
        "fabric/compute/assignments.py",
        "            if page.host_id != self._host_id:\n",
        "            if False:\n",
        ASSIGNMENTS,
    ),
    bug(
        "rows older than those acted on are obeyed",
        S,
        "fabric/compute/assignments.py",
        "            if page.applied_index < newest:\n",
        "            if False:\n",
        ASSIGNMENTS,
        RECONCILE,
    ),
    bug(
        "a failed build leaves its pieces",
        S,
        "fabric/compute/build_server.py",
        "                await self._undo(undo.pop_all(), assigned)\n",
        "                undo.pop_all()\n",
        RECONCILE,
    ),
    bug(
        "each try of a report has its own request id",
        S,
        "fabric/compute/observe.py",
        "await self._state.propose(command, request_id=request_id)",
        "await self._state.propose(command, request_id=derive_request_id(request_id, str(delay_ms)))",
        HOST_PARTS,
    ),
    bug(
        "a reboot of an older generation is done again",
        S,
        "fabric/compute/act.py",
        "        if done_generation >= server.action_generation:\n",
        "        if False:\n",
        RECONCILE,
    ),
    bug(
        "the port goes before the guest that uses it",
        S,
        "fabric/compute/act.py",
        '        async with step("domain"):\n'
        "            await unbroken(self._driver.ensure_absent(server_id), grace_s=self._cancel_grace_s)\n"
        '        async with step("ports"):\n'
        "            await unbroken(self._network.unplug(server_id), grace_s=self._cancel_grace_s)\n",
        '        async with step("ports"):\n'
        "            await unbroken(self._network.unplug(server_id), grace_s=self._cancel_grace_s)\n"
        '        async with step("domain"):\n'
        "            await unbroken(self._driver.ensure_absent(server_id), grace_s=self._cancel_grace_s)\n",
        RECONCILE,
    ),
    bug(
        "a newer wish does not cancel the work on an older one",
        L,
        "fabric/compute/reconcile.py",
        "                present.task.cancel()\n",
        "                pass\n",
        RECONCILE,
    ),
    bug(
        "a take-down that failed is never tried again",
        L,
        "fabric/compute/reconcile.py",
        "self._clock.monotonic_ms() + delay_ms)",
        "self._clock.monotonic_ms() + (delay_ms << 40))",
        RECONCILE,
    ),
    bug(
        "nudges are not listened to",
        L,
        "fabric/compute/reconcile.py",
        "        self._is_pull_wanted = True\n        self._wake.set()",
        "        self._wake.set()",
        RECONCILE,
    ),
)

PLACEMENT = (
    bug(
        "a disabled host is chosen",
        S,
        "fabric/core/placement/filters/compute.py",
        "    if not host.enabled:\n",
        "    if False:\n",
        FILTERS,
    ),
    bug(
        "a dead host is chosen",
        S,
        "fabric/core/placement/filters/compute.py",
        "    if not view.is_alive:\n",
        "    if False:\n",
        FILTERS,
    ),
    bug(
        "the memory ratio is ignored",
        S,
        "fabric/core/placement/claim.py",
        "memory_mb=memory_mb * host.memory_ratio_milli // 1000,",
        "memory_mb=memory_mb,",
        FILTERS,
    ),
    bug(
        "all servers go to one host while it has room",
        L,
        "fabric/core/placement/choose.py",
        "(weights[i], rendezvous(server.server_id, view.host.host_id), i)",
        "(0, 0, -i)",
        FILTERS,
    ),
    bug(
        "placements of one batch do not see each other",
        S,
        "fabric/core/placement/choose.py",
        "            table.claim(result.host_id, result.claim)\n",
        "            pass\n",
        FILTERS,
    ),
)

CONTROL = (
    bug(
        "another project's server is visible",
        S,
        "fabric/control/servers.py",
        "if view is None or not (caller.is_admin or view.server.project_id == caller.project_id):",
        "if view is None:",
        CHANGES_API,
    ),
    bug(
        "everybody may list the servers of all projects",
        S,
        "fabric/control/servers.py",
        "    if wanted.project_id is None or wanted.project_id != caller.project_id:\n",
        "    if False:\n",
        "tests/unit/control/test_server_listing.py",
    ),
    bug(
        "a reader may write",
        S,
        "fabric/control/policy.py",
        '**_crud("compute:servers", _READ, _WRITE)',
        '**_crud("compute:servers", _READ, _READ)',
        "tests/unit/control/test_policy.py",
        CHANGES_API,
    ),
    bug(
        "a token lives past its end",
        S,
        "fabric/control/tokens.py",
        "    if cloud.clock.wall_ms() >= claims.expires_ms:\n",
        "    if False:\n",
        TOKENS,
    ),
    bug(
        "a token outlives the password it was issued under",
        S,
        "fabric/control/tokens.py",
        " or _mark(user) != claims.password_mark:",
        ":",
        TOKENS,
    ),
)

WIRE = (
    bug(
        "frames of any size are parsed",
        S,
        "proto/codec.py",
        "    if len(frame) > limit:\n"
        '        raise WireError("frame_too_long", f"{len(frame)} bytes, at most {limit}")\n'
        "    left = containers_max\n",
        "    left = containers_max\n",
        CODEC,
        ENVELOPE,
    ),
    bug(
        "nesting has no bound",
        S,
        "proto/codec.py",
        "    if containers_max - left > DEPTH_MAX:",
        "    if False:",
        CODEC,
    ),
    bug(
        "a version nobody knows is accepted",
        S,
        "proto/envelope.py",
        "if frame[1] != WIRE_VERSION:",
        "if frame[1] > 127:",
        ENVELOPE,
    ),
    bug(
        "frames of another fabric are taken",
        S,
        "proto/envelope.py",
        "    if not frame.startswith(_BIN8 + tag, _TAG_AT):\n",
        "    if False:\n",
        ENVELOPE,
    ),
)

NETWORK = (
    bug(
        "a guest may send from any address",
        S,
        "netplug/bridge_rules.py",
        '    "iifname . ip saddr != @addresses4 drop",\n',
        "",
        NET_PLAN,
    ),
    bug(
        "a guest may send from any MAC",
        S,
        "netplug/bridge_rules.py",
        '    "iifname . ether saddr != @macs drop",\n',
        "",
        NET_PLAN,
    ),
    bug(
        "a guest may answer DHCP",
        S,
        "netplug/bridge_rules.py",
        '    "udp sport 67 drop",\n',
        "",
        NET_PLAN,
    ),
)

CATALOG: tuple[Bug, ...] = (
    *STORE,
    *RUNTIME,
    *MEMBERSHIP_BUGS,
    *RAFT_BUGS,
    *VOTER_BUGS,
    *COMPUTE,
    *PLACEMENT,
    *CONTROL,
    *WIRE,
    *NETWORK,
)
