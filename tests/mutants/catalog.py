"""The bugs. Each is one that this program, or one like it, could really have had.

To add one: the smallest exact replacement, the files most likely to kill it, quickest first. A bug that
survives is a test to write, not a row to delete.
"""

from __future__ import annotations

from tests.mutants.autopilot_bugs import AUTOPILOT_BUGS
from tests.mutants.bug import Bug, Harm
from tests.mutants.creating_bugs import CREATING_BUGS
from tests.mutants.disk_bugs import DISK_BUGS
from tests.mutants.explaining_bugs import EXPLAINING_BUGS
from tests.mutants.facts_bugs import FACTS_BUGS
from tests.mutants.level_bugs import LEVEL_BUGS
from tests.mutants.membership_bugs import MEMBERSHIP_BUGS
from tests.mutants.moves_bugs import MOVES_BUGS
from tests.mutants.moving_bugs import MOVING_BUGS
from tests.mutants.owner_bugs import OWNER_BUGS
from tests.mutants.process_bugs import PROCESS_BUGS
from tests.mutants.raft_bugs import RAFT_BUGS
from tests.mutants.runtime_bugs import RUNTIME_BUGS
from tests.mutants.shared_bugs import SHARED_BUGS
from tests.mutants.shelving_bugs import SHELVING_BUGS
from tests.mutants.store_bugs import STORE_BUGS
from tests.mutants.topology_bugs import TOPOLOGY_BUGS
from tests.mutants.voter_bugs import VOTER_BUGS
from tests.mutants.whereabouts_bugs import WHEREABOUTS_BUGS

S, L = Harm.SAFETY, Harm.LIVENESS

STATE_SERVICE = "tests/unit/runtime/test_state_service.py"
RECONCILE, ASSIGNMENTS = "tests/unit/compute/test_reconcile.py", "tests/unit/compute/test_assignments.py"
HOST_PARTS = "tests/unit/compute/test_host_parts.py"
CHOICE = "tests/property/test_placement.py"
FILTERS, SCHEDULER = "tests/unit/core/placement/test_filters.py", "tests/unit/runtime/test_scheduler_loop.py"
CHANGES_API = "tests/api/compute/test_server_changes_api.py"
TOKENS = "tests/unit/control/test_tokens.py"
ENVELOPE, CODEC = "tests/unit/proto/test_envelope.py", "tests/unit/proto/test_codec.py"
NET_PLAN = "tests/unit/netplug/test_plan.py"
RPC = "tests/contract/mesh/test_rpc.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=file, old=old, new=new, tests=tests)


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
        "a kept host table has the last word",
        L,
        "fabric/runtime/scheduler_loop.py",
        "is_last_word=is_new)",
        "is_last_word=True)",
        SCHEDULER,
    ),
    bug(
        "a placement that lost a race is not tried again",
        L,
        "fabric/runtime/scheduler_loop.py",
        '        result.retry += 1\n        if reason == "fenced":',
        '        if reason == "fenced":',
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
        "                is_undone = await self._undo(undo.pop_all(), assigned)\n",
        "                undo.pop_all()\n                is_undone = True\n",
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
        "processors of a guest that is not defined yet count as free",
        S,
        "fabric/compute/pin_keeper.py",
        "        others += [cpus for other, cpus in self._given.items() if other != server_id]\n",
        "",
        "tests/unit/compute/test_pin_keeper.py",
    ),
    bug(
        "processors that a domain has count as free",
        S,
        "fabric/compute/pin_keeper.py",
        "        others = [_all(pins) for other, pins in held.items() if other != server_id]\n",
        "        others = list[tuple[int, ...]]()\n",
        "tests/unit/compute/test_pin_keeper.py",
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
        "fabric/core/placement/host_facts.py",
        "        return self.host.enabled and not self.host.forced_down and self.is_alive\n",
        "        return not self.host.forced_down and self.is_alive\n",
        FILTERS,
    ),
    bug(
        "a dead host is chosen",
        S,
        "fabric/core/placement/host_facts.py",
        "        return self.state in USABLE_STATES\n",
        "        return True\n",
        FILTERS,
    ),
    bug(
        "the memory ratio is ignored",
        S,
        "fabric/core/placement/host_facts.py",
        "                ratio_milli=host.memory_ratio_milli,\n",
        "",
        CHOICE,
    ),
    bug(
        "all servers go to one host while it has room",
        L,
        "fabric/core/placement/choose.py",
        "    order = ranked(request, table, *_heaviest(places, weights, alternates + 1))\n",
        "    order = list(places)\n",
        CHOICE,
    ),
    bug(
        "placements of one batch do not see each other",
        S,
        "fabric/core/placement/choose.py",
        "            claim(request, choice.host_id, table)\n",
        "            pass\n",
        CHOICE,
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
    *STORE_BUGS,
    *WHEREABOUTS_BUGS,
    *EXPLAINING_BUGS,
    *CREATING_BUGS,
    *OWNER_BUGS,
    *FACTS_BUGS,
    *MOVES_BUGS,
    *SHELVING_BUGS,
    *MOVING_BUGS,
    *TOPOLOGY_BUGS,
    *SHARED_BUGS,
    *RUNTIME,
    *MEMBERSHIP_BUGS,
    *RAFT_BUGS,
    *VOTER_BUGS,
    *DISK_BUGS,
    *LEVEL_BUGS,
    *PROCESS_BUGS,
    *RUNTIME_BUGS,
    *AUTOPILOT_BUGS,
    *COMPUTE,
    *PLACEMENT,
    *CONTROL,
    *WIRE,
    *NETWORK,
)
