"""Our nftables tables in the kernel: replaced as a whole in one transaction, and only when they must be.

The kernel renders rules in its own words, so its text is never compared with ours. Instead a record keeps
what we asked for and how the kernel showed it just afterwards; when either differs now, the tables are
written again. So a flushed table, a deleted or added rule is repaired. A lost record costs one superfluous
write.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path

from netplug.bridge_rules import TABLE
from netplug.system import complaint, read_file, run_tool, write_file
from proto.errors import NetPlugError

FAMILIES = ("bridge", "ip", "ip6")


class RuleTables:
    def __init__(self, record: Path) -> None:
        self._record = record
        self.writes = 0  # transactions, since this object was made

    def apply(self, ruleset: str) -> None:
        """The kernel holds exactly `ruleset` in our tables; "" means that they do not exist.

        Raises:
            NetPlugError: nftables refused; the old rules are in force.
        """
        if not ruleset:
            self._remove()
            return
        wanted, shown = _digest(ruleset), self._shown()
        if shown is not None and read_file(self._record) == _record_text(wanted, shown):
            return
        self._record.unlink(missing_ok=True)
        self._transact(ruleset)
        written = self._shown()
        if written is None:
            raise NetPlugError("the nftables tables vanished while they were written")
        write_file(self._record, _record_text(wanted, written))

    def rule_count(self) -> int:
        return sum(self._rules_of(family) for family in self._present())

    def _remove(self) -> None:
        present = self._present()
        if present:
            self._transact("".join(f"delete table {family} {TABLE}\n" for family in present))
        self._record.unlink(missing_ok=True)

    def _transact(self, text: str) -> None:
        self.writes += 1
        done = run_tool(["nft", "-f", "-"], text_in=text)
        if done.returncode != 0:
            raise NetPlugError(f"nftables refused the rules: {complaint(done)}")

    def _shown(self) -> str | None:
        """A digest of the kernel's text; None when a table is missing."""
        texts = []
        for family in FAMILIES:  # one by one: nft 1.0.6 finds only the last table of several
            done = run_tool(["nft", "-s", "list", "table", family, TABLE])
            if done.returncode != 0:
                return None
            texts.append(done.stdout)
        return _digest("".join(texts))

    def _present(self) -> list[str]:
        done = run_tool(["nft", "list", "tables"])
        if done.returncode != 0:
            raise NetPlugError(f"cannot list nftables: {complaint(done)}")
        lines = set(done.stdout.splitlines())
        return [family for family in FAMILIES if f"table {family} {TABLE}" in lines]

    def _rules_of(self, family: str) -> int:
        done = run_tool(["nft", "-j", "list", "table", family, TABLE])
        if done.returncode != 0:
            return 0
        return sum("rule" in item for item in json.loads(done.stdout)["nftables"])


def _record_text(wanted: str, shown: str) -> str:
    return json.dumps({"shown": shown, "wanted": wanted}) + "\n"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
