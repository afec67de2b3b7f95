"""Machines for benchmarks and tests: network namespaces around one hub that routes between them.

A routed star and not a bridge, for one reason: the kernel's neighbour table is shared by all namespaces
and holds 1,024 entries. A hundred nodes on a bridge that all speak to one another need 9,900; here a node
has one neighbour, the hub. Each namespace lives as long as its holder, a `cat` whose input is our pipe, so
nothing of this outlives the process that made it, however that ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

COMMAND_S = 60
MACHINES_MAX = 1_000
MACHINES_PER_SUBNET = 250
HUB_ADDRESS = "169.254.0.1"  # on every wire: each machine's next hop to all others
RULES = """
table ip star {
  set silent { type ipv4_addr; }
  set cut { type ipv4_addr . ipv4_addr; }
  set narrow { type ipv4_addr; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip saddr @silent drop
    ip daddr @silent drop
    ip saddr . ip daddr @cut drop
    ip saddr @narrow meta length > 700 drop
  }
}
"""
# Children of a benchmark or test that is killed die with it.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


class Star:
    """`count` machines, numbered from 0. Needs root."""

    def __init__(self, count: int) -> None:
        assert 0 < count <= MACHINES_MAX
        self.count = count
        self._stack = ExitStack()
        try:
            self._hub = self._hold()
            holders = [self._begin_hold() for _ in range(count)]
            self._pids = [self._await(holder) for holder in holders]
            self._wire()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the namespaces, once nobody else lives in them."""
        self._stack.close()

    @staticmethod
    def address(machine: int) -> str:
        return f"10.88.{machine // MACHINES_PER_SUBNET}.{machine % MACHINES_PER_SUBNET + 1}"

    def namespace(self, machine: int) -> Path:
        """The file to `setns` into."""
        return Path(f"/proc/{self._pids[machine]}/ns/net")

    def enter(self, machine: int) -> list[str]:
        """What a command line starts with to run there."""
        return ["nsenter", f"--net={self.namespace(machine)}", "--"]

    def sent(self, machine: int) -> tuple[int, int]:
        """(bytes, packets) that machine has sent, Ethernet headers included."""
        for line in Path(f"/proc/{self._pids[machine]}/net/dev").read_text().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == "eth0":
                fields = numbers.split()
                return int(fields[8]), int(fields[9])
        raise AssertionError("eth0 is gone")

    # -- faults, both directions unless said otherwise; nobody is told, packets just vanish

    def silence(self, machines: Iterable[int]) -> None:
        self._nft(f"add element ip star silent {{ {', '.join(map(self.address, machines))} }}")

    def unsilence(self, machines: Iterable[int]) -> None:
        self._nft(f"delete element ip star silent {{ {', '.join(map(self.address, machines))} }}")

    def cut(self, senders: Iterable[int], receivers: Iterable[int]) -> None:
        """One way: what `senders` send to `receivers` vanishes."""
        to = [self.address(machine) for machine in receivers]
        pairs = [f"{self.address(machine)} . {other}" for machine in senders for other in to]
        self._nft(f"add element ip star cut {{ {', '.join(pairs)} }}")

    def narrow(self, senders: Iterable[int]) -> None:
        """Of what `senders` send long packets vanish, and nobody is told: a path MTU black hole."""
        self._nft(f"add element ip star narrow {{ {', '.join(map(self.address, senders))} }}")

    def split(self, one: Iterable[int], other: Iterable[int]) -> None:
        one, other = tuple(one), tuple(other)
        self.cut(one, other)
        self.cut(other, one)

    def mend(self) -> None:
        """Every fault ends."""
        self._nft("flush set ip star silent\nflush set ip star cut\nflush set ip star narrow")

    # -- making

    def _begin_hold(self) -> subprocess.Popen[str]:
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up; echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # ^C is for us to handle, in our order
        )
        self._stack.callback(_end, holder)
        return holder

    def _await(self, holder: subprocess.Popen[str]) -> int:
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "ready":
            raise RuntimeError("no network namespace: this needs root and a kernel that allows them")
        return holder.pid

    def _hold(self) -> int:
        return self._await(self._begin_hold())

    def _wire(self) -> None:
        hub = [f"address add {HUB_ADDRESS}/32 dev lo"]
        for machine, pid in enumerate(self._pids):
            hub += [
                f"link add v{machine} type veth peer name eth0 netns {pid}",
                f"link set v{machine} up",
            ]
        self._ip(self._hub, hub)
        for machine, pid in enumerate(self._pids):
            own = [
                f"address add {self.address(machine)}/32 dev eth0",
                "link set eth0 up",
                f"route add default via {HUB_ADDRESS} dev eth0 onlink",
            ]
            self._ip(pid, own)
        self._ip(self._hub, [f"route add {self.address(m)}/32 dev v{m}" for m in range(self.count)])
        self._in(self._hub, ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"], "")
        self._nft(RULES)

    def _ip(self, pid: int, lines: list[str]) -> None:
        self._in(pid, ["ip", "-batch", "-"], "\n".join(lines))

    def _nft(self, text: str) -> None:
        self._in(self._hub, ["nft", "-f", "-"], text)

    def _in(self, pid: int, argv: list[str], text: str) -> None:
        done = subprocess.run(
            ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv],
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{argv}: {done.stdout}{done.stderr}")


def why_no_star() -> str:
    """What is missing here; "" when nothing is."""
    if os.geteuid() != 0:
        return "needs root"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0:
        return "this machine allows no network namespaces"
    missing = [tool for tool in ("ip", "nft", "nsenter", "setpriv") if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else ""


def _end(holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.close()
    holder.wait(COMMAND_S)
    holder.stdout.close()
