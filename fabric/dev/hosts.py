"""Simulated hosts on one machine: several independent "machines" for development and tests. Needs root.

Each has its own network, mount, UTS, IPC and PID namespace, its own /run, /etc/libvirt and
/var/{lib,log,cache}/libvirt, host name, and libvirtd. `eth0` has an address on the underlay bridge `ul0`;
`eth1` has none and hangs on a second bridge, `phy0`, for flat provider networks. Both bridges live in a
further namespace, "switch", so nothing of ours shows among the machine's own links, and any number of such
sets run side by side. The PID namespace makes `power_off` a true power failure: agents, guests and dnsmasq
die at once, files stay.

What a set consists of is in its directory; every method works from a fresh process.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fabric.dev.hosts_config import PRIVATE_DIRECTORIES, write_libvirt_config
from fabric.errors import FabricError, Outcome

SWITCH = "switch"
UNDERLAY = "ul0"
PROVIDER = "phy0"
DEFAULT_NETWORK = "10.77.0.0/24"
STATE_FILE = "simulated-hosts.json"
HOSTS_MAX = 64
NAME_CHARACTERS_MAX = 12  # the switch calls a host's links NAME-e0 and NAME-e1, of at most 15
START_TIMEOUT_S = 90.0
DEATH_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 30.0

_INIT = Path(__file__).with_name("hosts_init.py")
_ENTER = Path(__file__).with_name("hosts_enter.py")
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_MESSAGE_BYTES_MAX = 4096
_TOOLS = ("unshare", "nsenter", "ip", "mount")


class HostsError(FabricError):
    """A simulated host could not be made, entered or ended."""

    code = "fabric.dev.hosts"
    outcome = Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is on disk: which hosts there are, by number on the underlay."""

    network: str
    mtu: int
    libvirt: bool
    numbers: dict[str, int]


class SimulatedHosts:
    """The set of hosts in `directory`.

    Args:
        network: the underlay's IPv4 network; host number I has its I-th address, the switch the last one.
        mtu: of every link and bridge.
        libvirt: whether each host runs a libvirtd.
        The three count when the set is first made; an existing set keeps its own.
    """

    def __init__(
        self, directory: Path, *, network: str = DEFAULT_NETWORK, mtu: int = 1500, libvirt: bool = True
    ) -> None:
        self.directory = directory.absolute()
        self._fresh = _Plan(str(ipaddress.IPv4Network(network)), mtu, libvirt, {})
        self._launchers: dict[str, subprocess.Popen[bytes]] = {}

    # -- the set

    def up(self, names: Sequence[str]) -> None:
        """Makes and starts those of `names` that do not run. Raises HostsError, leaving what runs."""
        _check_machine(libvirt=self._plan().libvirt)
        for name in names:
            _check_name(name)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._number(names)
        if self.pid(SWITCH) is None:
            self._start_switch()
        for name in names:
            if self.pid(name) is None:
                self.start(name)

    def start(self, name: str) -> None:
        """Powers a host on; its files are as its last life left them, but for /run."""
        plan = self._plan()
        if name not in plan.numbers:
            raise HostsError(f"no simulated host {name!r} in {self.directory}")
        if self.pid(name) is not None:
            return
        if plan.libvirt:
            write_libvirt_config(self._base(name), "0.0.0.0")  # noqa: S104 - of a namespace of its own
        mounts = PRIVATE_DIRECTORIES if plan.libvirt else {"run": "/run"}
        self._launch(name, [f"{sub}={path}" for sub, path in mounts.items()], libvirtd=plan.libvirt)
        self._connect(name, plan)

    def power_off(self, name: str) -> None:
        """As if the cord were pulled: every process of the host dies now. Files stay."""
        pid = self.pid(name)
        if pid is not None:
            _kill_and_wait(pid, name)
        launcher = self._launchers.pop(name, None)
        if launcher is not None:
            launcher.wait(DEATH_TIMEOUT_S)
        (self._base(name) / "pid").unlink(missing_ok=True)

    def down(self) -> None:
        """Ends everything and removes the directory. A directory that is no such set is left alone."""
        if not (self.directory / STATE_FILE).exists():
            return
        for name in (*self.names(), SWITCH):
            self.power_off(name)
        shutil.rmtree(self.directory)

    # -- one host

    def names(self) -> tuple[str, ...]:
        return tuple(self._plan().numbers)

    def pid(self, name: str) -> int | None:
        """The host's process 1, as seen from here; None when it is off."""
        try:
            pid = int((self._base(name) / "pid").read_text())
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        ours = [os.fsencode(_INIT), os.fsencode(name), os.fsencode(self._base(name))]
        return pid if argv[2:5] == ours else None

    def address(self, name: str) -> str:
        """Its address on the underlay, without the prefix length."""
        plan = self._plan()
        if name not in plan.numbers:
            raise HostsError(f"no simulated host {name!r} in {self.directory}")
        return str(ipaddress.IPv4Network(plan.network)[plan.numbers[name]])

    def libvirt_uri(self, name: str) -> str:
        """The host's libvirt as reached from outside. Through /proc, because a unix socket's path may
        have 107 characters and our directory any number. Ends with the host's present life."""
        return f"qemu+unix:///system?socket=/proc/{self._running(name)}/root/run/libvirt/libvirt-sock"

    def command(self, name: str, argv: Sequence[str]) -> list[str]:
        """`argv` as it must be run from here to run inside the host, in the present directory."""
        inside = ["sh", "-c", 'cd "$0" && exec "$@"', os.getcwd(), *argv]
        return [*self._nsenter(name), "--", *inside]

    def run_in(
        self,
        name: str,
        argv: Sequence[str],
        *,
        timeout_s: float = COMMAND_TIMEOUT_S,
        check: bool = True,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside to its end. Raises HostsError when it fails (with `check`) or takes too
        long."""
        return _run(self.command(name, argv), timeout_s=timeout_s, check=check, stdin=stdin)

    def spawn_in(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> int:
        """Starts a process inside that outlives us, in the present directory and in a session of its own;
        its output is appended to `log`. Returns its pid as seen from here. Raises HostsError, also when
        the program cannot be executed."""
        prefix = [*self._nsenter(name), "--", sys.executable, "-I", str(_ENTER)]
        with _credentials_pair() as (ours, theirs), log.open("ab") as out:
            process = subprocess.Popen(
                [*prefix, str(theirs.fileno()), os.getcwd(), *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(os.environ if env is None else env),
                pass_fds=(theirs.fileno(), *pass_fds),
                start_new_session=True,
            )
            theirs.close()
            message, pid = _receive(ours)
            why_not, _ = _receive(ours) if message == "ready" else (message, 0)
            process.wait(COMMAND_TIMEOUT_S)
        if message != "ready" or why_not:
            raise HostsError(f"{name}: {why_not or 'could not be entered'}; see {log}")
        return pid

    def start_libvirtd(self, name: str) -> None:
        """Starts it again after it was killed; returns when it listens."""
        argv = ["libvirtd", "--listen", "-d", "-p", "/run/libvirtd.pid"]
        self.run_in(name, argv, timeout_s=START_TIMEOUT_S)

    def kill_libvirtd(self, name: str) -> None:
        """kill -9, and wait until it is gone. Guests run on."""
        pid = int(self.run_in(name, ["cat", "/run/libvirtd.pid"]).stdout)
        script = 'kill -9 "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.01; done'
        self.run_in(name, ["sh", "-c", script, "kill", str(pid)])

    # -- inside

    def _base(self, name: str) -> Path:
        return self.directory / name

    def _running(self, name: str) -> int:
        pid = self.pid(name)
        if pid is None:
            raise HostsError(f"simulated host {name!r} in {self.directory} is not running")
        return pid

    def _nsenter(self, name: str, *namespaces: str) -> list[str]:
        pid = self._running(name)
        return ["nsenter", "-t", str(pid), *(namespaces or ("-m", "-u", "-i", "-n", "-p"))]

    def _plan(self) -> _Plan:
        try:
            value = json.loads((self.directory / STATE_FILE).read_text())
        except FileNotFoundError:
            return self._fresh
        return _Plan(value["network"], value["mtu"], value["libvirt"], value["numbers"])

    def _number(self, names: Sequence[str]) -> None:
        """Gives new names the lowest free numbers and writes the plan down."""
        plan = self._plan()
        numbers = dict(plan.numbers)
        last = min(HOSTS_MAX, ipaddress.IPv4Network(plan.network).num_addresses - 3)
        free = (number for number in range(1, last + 1) if number not in numbers.values())
        for name in names:
            if name not in numbers:
                number = next(free, None)
                if number is None:
                    raise HostsError(f"{plan.network} has room for {last} hosts only")
                numbers[name] = number
        value = {"network": plan.network, "mtu": plan.mtu, "libvirt": plan.libvirt, "numbers": numbers}
        fresh = self.directory / (STATE_FILE + ".new")
        fresh.write_text(json.dumps(value, indent=2) + "\n")
        os.replace(fresh, self.directory / STATE_FILE)

    def _start_switch(self) -> None:
        plan = self._plan()
        network = ipaddress.IPv4Network(plan.network)
        self._launch(SWITCH, [], libvirtd=False)
        lines = [f"link add {bridge} mtu {plan.mtu} type bridge" for bridge in (UNDERLAY, PROVIDER)]
        lines += [f"link set {bridge} up" for bridge in (UNDERLAY, PROVIDER)]
        lines.append(f"addr add {network[-2]}/{network.prefixlen} dev {UNDERLAY}")
        self._ip(SWITCH, lines)

    def _connect(self, name: str, plan: _Plan) -> None:
        pid = self._running(name)
        links = ((f"{name}-e0", "eth0", UNDERLAY), (f"{name}-e1", "eth1", PROVIDER))
        lines = []
        for outer, inner, bridge in links:
            # A host that died a moment ago may not have taken its links along yet.
            subprocess.run([*self._nsenter(SWITCH, "-n"), "ip", "link", "del", outer],
                           stderr=subprocess.DEVNULL, timeout=COMMAND_TIMEOUT_S, check=False)  # fmt: skip
            lines.append(
                f"link add {outer} mtu {plan.mtu} type veth peer name {inner} mtu {plan.mtu} netns {pid}"
            )
            lines.append(f"link set {outer} master {bridge} up")
        self._ip(SWITCH, lines)
        prefix_length = ipaddress.IPv4Network(plan.network).prefixlen
        address = f"addr add {self.address(name)}/{prefix_length} dev eth0"
        self._ip(name, [address, "link set eth0 up", "link set eth1 up"])

    def _ip(self, name: str, lines: Sequence[str]) -> None:
        _run([*self._nsenter(name, "-n"), "ip", "-batch", "-"], stdin="\n".join(lines) + "\n")

    def _launch(self, name: str, options: Sequence[str], *, libvirtd: bool) -> None:
        base = self._base(name)
        base.mkdir(parents=True, exist_ok=True)
        unshare = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
                   "--mount-proc", "--propagation", "private"]  # fmt: skip
        with _credentials_pair() as (ours, theirs), (base / "init.log").open("ab") as log:
            argv = [sys.executable, "-I", str(_INIT), name, str(base), str(theirs.fileno()), *options]
            process = _start_quietly([*unshare, *argv, *(["--libvirtd"] if libvirtd else [])], log, theirs)
            theirs.close()
            message, pid = _receive(ours)
        if message != "ready":
            process.kill()
            process.wait(DEATH_TIMEOUT_S)
            raise HostsError(f"{name} did not start: {message or 'no word from it'}; see {base / 'init.log'}")
        (base / "pid").write_text(str(pid))
        self._launchers[name] = process


def missing_requirements(*, libvirt: bool = True) -> str:
    """What this machine lacks to simulate hosts, for people; empty when nothing does."""
    if os.geteuid() != 0:
        return "needs root"
    tools = (*_TOOLS, "libvirtd", "qemu-system-x86_64", "qemu-img") if libvirt else _TOOLS
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "" if os.path.exists("/dev/net/tun") else "no /dev/net/tun"


def _check_machine(*, libvirt: bool) -> None:
    why_not = missing_requirements(libvirt=libvirt)
    if why_not:
        raise HostsError(f"simulated hosts: {why_not}")


def _check_name(name: str) -> None:
    good = name.isascii() and name.replace("-", "a").isalnum() and 0 < len(name) <= NAME_CHARACTERS_MAX
    if not good or name == SWITCH:
        raise HostsError(f"{name[:40]!r} is not a host name of 1 to {NAME_CHARACTERS_MAX} characters")


def _kill_and_wait(pid: int, name: str) -> None:
    """Returns when the process is dead. Being a process 1, it counts as dead only when all of its
    namespace are: the kernel ends them first."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        readable, _, _ = select.select([handle], [], [], DEATH_TIMEOUT_S)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
    if not readable:
        raise HostsError(f"{name} (pid {pid}) did not die within {DEATH_TIMEOUT_S:.0f} s")


def _start_quietly(argv: Sequence[str], log: IO[bytes], ready: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(ready.fileno(),),
        start_new_session=True,
        cwd="/",
    )


@contextlib.contextmanager
def _credentials_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends; on the first the kernel says of each message who sent it, by the pid we know it under."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ours.settimeout(START_TIMEOUT_S)
        yield ours, theirs


def _receive(ours: socket.socket) -> tuple[str, int]:
    """A message and its sender's pid; ("", 0) when the other end closed or was silent too long."""
    try:
        data, ancillary, _, _ = ours.recvmsg(_MESSAGE_BYTES_MAX, socket.CMSG_SPACE(_CREDENTIALS.size))
    except TimeoutError:
        return "", 0
    if not data:
        return "", 0
    pids = [
        _CREDENTIALS.unpack(value[: _CREDENTIALS.size])[0]
        for level, kind, value in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]
    return data.decode(errors="replace"), pids[0] if pids else 0


def _run(
    argv: Sequence[str], *, timeout_s: float = COMMAND_TIMEOUT_S, check: bool = True, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HostsError(f"{argv[-1][:80]!r}: no end within {timeout_s:.0f} s") from error
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise HostsError(f"{' '.join(argv)[-200:]}: exit {done.returncode}: {said}")
    return done
