"""Bugs of who a node is: what it remembers, what it is called, and which of two processes it is."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

OWNERSHIP, SERVICE = "tests/unit/runtime/test_ownership.py", "tests/unit/runtime/test_state_service.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


OWNER_BUGS = (
    bug(
        "what changed just before a last word is not written down",
        L,
        "core/membership/membership.py",
        '        if "persist" in self._context.timers:\n',
        "        if False:\n",
        "tests/unit/core/membership/test_memory.py",
    ),
    bug(
        "a process elsewhere is believed to be the node",
        S,
        "runtime/ownership.py",
        "    if lives_elsewhere(member, process.endpoint):\n",
        "    if False:\n",
        OWNERSHIP,
    ),
    bug(
        "who has just changed owners is believed at once",
        S,
        "runtime/ownership.py",
        "now_ms - member.contested_ms < CONTESTED_MS",
        "now_ms - member.contested_ms < 0",
        OWNERSHIP,
    ),
    bug(
        "a host's reports are taken from any process",
        S,
        "runtime/state_service.py",
        """        self._need_owner(peer, process_from_plain(body))
        # the peer's id""",
        "        # the peer's id",
        SERVICE,
    ),
)
