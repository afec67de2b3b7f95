"""Bugs of agents that share one database: what is told twice or not at all, and two that conduct."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

ORDER, FOLLOWER = "tests/unit/store/test_in_order.py", "tests/unit/store/test_feed_follower.py"
DATABASE, LEASE = "tests/unit/store/test_database.py", "tests/unit/store/test_role_lease.py"
LEAD, ENTRUSTING = "tests/unit/runtime/test_shared_lead.py", "tests/unit/runtime/test_entrusting.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


SHARED_BUGS = (
    bug(
        "an entry that two bring is told twice",
        S,
        "store/in_order.py",
        "        if index <= self.told:\n            return True\n",
        "",
        ORDER,
    ),
    bug(
        "an entry is told before one that precedes it",
        S,
        "store/in_order.py",
        "        if index != self.told + 1:\n            return False\n",
        "",
        ORDER,
    ),
    bug(
        "who missed more than the feed holds waits for it for ever",
        L,
        "store/feed_follower.py",
        "                self._order.pass_over(following)\n",
        "",
        FOLLOWER,
    ),
    bug(
        "what is lost at its commit is said not to be done",
        S,
        "store/database.py",
        "        if trouble is Trouble.LOST and (self._is_committing or code == UNKNOWN_COMPLETION):\n",
        "        if trouble is Trouble.LOST and code == UNKNOWN_COMPLETION:\n",
        DATABASE,
    ),
    bug(
        "an ambiguous result is said not to be done",
        S,
        "store/database.py",
        "(self._is_committing or code == UNKNOWN_COMPLETION)",
        "self._is_committing",
        DATABASE,
    ),
    bug(
        "a conflict is not tried again",
        L,
        "store/database.py",
        "            if self._conflicts < ATTEMPTS_MAX:\n",
        "            if self._conflicts < 1:\n",
        DATABASE,
    ),
    bug(
        "what is to be rolled back is committed",
        S,
        "store/database.py",
        "                transaction.rollback()\n                return None\n",
        "                transaction.commit()\n                return None\n",
        DATABASE,
    ),
    bug(
        "a lease that another holds is taken",
        S,
        "store/role_lease.py",
        "t.role_leases.c.until_ms <= now,",
        "t.role_leases.c.until_ms >= 0,",
        LEASE,
    ),
    bug(
        "a former taking of the same node counts",
        S,
        "store/role_lease.py",
        "row.node_id == lease.node_id, row.epoch == lease.epoch",
        "row.node_id == lease.node_id, row.epoch >= lease.epoch",
        LEASE,
    ),
    bug(
        "a holder counts on its lease to its very end",
        S,
        "runtime/shared_lead.py",
        "        self._lease, self._until_ms = lease, asked_ms + TTL_MS - MARGIN_MS\n",
        "        self._lease, self._until_ms = lease, asked_ms + TTL_MS\n",
        LEAD,
    ),
    bug(
        "a lease counts from its answer",
        S,
        "runtime/shared_lead.py",
        " = lease, asked_ms + TTL_MS - MARGIN_MS\n",
        " = lease, self._clock.monotonic_ms() + TTL_MS - MARGIN_MS\n",
        LEAD,
    ),
    bug(
        "who cannot renew its lease leads on",
        S,
        "runtime/shared_lead.py",
        "        return self._lease is not None and self._clock.monotonic_ms() < self._until_ms\n",
        "        return self._lease is not None\n",
        LEAD,
    ),
    bug(
        "who stood back takes the lead again",
        L,
        "runtime/shared_lead.py",
        "        if self._is_standing_back:\n            return LOOK_MS\n",
        "",
        LEAD,
    ),
    bug(
        "the root's key goes to who proves nothing",
        S,
        "runtime/entrusting.py",
        " or not hmac.compare_digest(told, proof(rows, node_id, nonce))",
        "",
        ENTRUSTING,
    ),
    bug(
        "a proof answers every question",
        S,
        "runtime/entrusting.py",
        "    keyed.update(nonce + node_id.encode())\n",
        "    keyed.update(node_id.encode())\n",
        ENTRUSTING,
    ),
    bug(
        "a copy of the conductor's database is taken for it",
        S,
        "runtime/entrusting.py",
        "        if row is None or row.certificate != signed:\n",
        "        if False:\n",
        ENTRUSTING,
    ),
)
