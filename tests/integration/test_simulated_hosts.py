"""Simulated hosts are separate machines, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabric.dev.hosts import HostsError, SimulatedHosts, missing_requirements
from tests.fixtures.dev_fabric import eventually

pytestmark = [pytest.mark.root, pytest.mark.netns]
NAMESPACES = ("net", "mnt", "uts", "ipc", "pid")


@pytest.fixture
def folder() -> Iterator[Path]:
    why_not = missing_requirements(libvirt=False)
    if why_not:
        pytest.skip(why_not)
    # Longer than a unix socket's path may be: the place of a set must not matter.
    path = Path(tempfile.mkdtemp(prefix="fab-" + "long-" * 20))
    try:
        yield path
    finally:
        SimulatedHosts(path / "set").down()
        shutil.rmtree(path)


@pytest.fixture
def pair(folder: Path) -> SimulatedHosts:
    hosts = SimulatedHosts(folder / "set", libvirt=False)
    hosts.up(["h1", "h2"])
    return hosts


def processes_in(namespace: str) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.readlink(f"/proc/{entry}/ns/pid") == namespace:
                    found.append(int(entry))
            except OSError:
                continue
    return found


def live_pid(hosts: SimulatedHosts, name: str) -> int:
    pid = hosts.pid(name)
    assert pid is not None
    return pid


def test_each_host_is_a_machine_of_its_own(pair: SimulatedHosts) -> None:
    places = {
        tuple(os.readlink(f"/proc/{pid}/ns/{kind}") for kind in NAMESPACES)
        for pid in (os.getpid(), live_pid(pair, "h1"), live_pid(pair, "h2"))
    }
    for column in zip(*places, strict=True):
        assert len(set(column)) == 3
    assert pair.run_in("h1", ["hostname"]).stdout == "h1\n"
    assert socket.gethostname() not in ("h1", "h2")
    pair.run_in("h1", ["touch", "/run/mine"])
    assert pair.run_in("h2", ["test", "-e", "/run/mine"], check=False).returncode == 1
    assert not Path("/run/mine").exists()
    links = pair.run_in("h1", ["ls", "/sys/class/net"]).stdout.split()
    assert links == ["eth0", "eth1", "lo"]


def test_the_underlay_carries_and_the_provider_link_is_bare(pair: SimulatedHosts) -> None:
    assert pair.address("h2") == "10.77.0.2"
    pair.run_in("h1", ["ping", "-c", "1", "-W", "5", "10.77.0.2"])
    assert pair.run_in("h1", ["ip", "-4", "-br", "addr", "show", "dev", "eth1"]).stdout == ""
    for name, address in (("h1", "192.0.2.1"), ("h2", "192.0.2.2")):
        pair.run_in(name, ["ip", "addr", "add", f"{address}/24", "dev", "eth1"])
    pair.run_in("h1", ["ping", "-c", "1", "-W", "5", "192.0.2.2"])


def test_network_and_mtu_can_be_chosen_and_are_remembered(folder: Path) -> None:
    hosts = SimulatedHosts(folder / "set", network="10.99.4.0/24", mtu=1400, libvirt=False)
    hosts.up(["left", "right"])
    again = SimulatedHosts(folder / "set")
    assert again.names() == ("left", "right")
    assert again.address("right") == "10.99.4.2"
    assert "mtu 1400" in again.run_in("left", ["ip", "link", "show", "eth0"]).stdout
    again.run_in("right", ["ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1372", "10.99.4.1"])


def test_two_sets_do_not_meet(folder: Path, pair: SimulatedHosts) -> None:
    other = SimulatedHosts(folder / "other", libvirt=False)
    try:
        other.up(["h1"])
        assert other.address("h1") == pair.address("h1")
        assert other.pid("h1") != pair.pid("h1")
        other.run_in("h1", ["touch", "/run/other"])
        assert pair.run_in("h1", ["test", "-e", "/run/other"], check=False).returncode == 1
    finally:
        other.down()
    assert pair.pid("h1") is not None


def test_up_again_changes_nothing_and_adds_what_is_new(pair: SimulatedHosts) -> None:
    before = (pair.pid("h1"), pair.pid("h2"), pair.pid("switch"))
    SimulatedHosts(pair.directory).up(["h1", "h2", "h3"])
    assert (pair.pid("h1"), pair.pid("h2"), pair.pid("switch")) == before
    pair.run_in("h3", ["ping", "-c", "1", "-W", "5", "10.77.0.1"])


def started_at(pid: int) -> str | None:
    """In ticks since boot; None: there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_a_spawned_process_is_the_hosts_own(pair: SimulatedHosts, folder: Path) -> None:
    log = folder / "log"
    pid = pair.spawn_in("h1", ["sh", "-c", "echo $NAME; pwd; exec sleep 1000"], log=log,
                        env={"NAME": "web", "PATH": os.environ["PATH"]})  # fmt: skip
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"PPid:\t{pair.pid('h1')}\n" in status  # adopted: it outlives us, and is reaped
    assert os.getsid(pid) == pid
    for kind in NAMESPACES:
        assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/{pair.pid('h1')}/ns/{kind}")
    started = started_at(pid)
    os.kill(pid, signal.SIGKILL)
    pair.run_in("h1", ["sh", "-c", "while pgrep -x sleep >/dev/null; do :; done"])
    assert started_at(pid) != started  # gone; by now its number may be another's
    assert log.read_text().splitlines()[:2] == ["web", os.getcwd()]


def test_a_spawned_process_outlives_the_one_that_spawned_it(pair: SimulatedHosts, folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from fabric.dev.hosts import SimulatedHosts\n"
        "hosts = SimulatedHosts(Path(sys.argv[1]))\n"
        "print(hosts.spawn_in('h1', ['sleep', '1000'], log=Path(sys.argv[2])))\n"
    )
    argv = [sys.executable, "-c", script, str(pair.directory), str(folder / "log")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert Path(f"/proc/{int(done.stdout)}/cmdline").read_bytes() == b"sleep\x001000\x00"


def test_a_socket_bound_outside_serves_from_inside(pair: SimulatedHosts, folder: Path) -> None:
    """How an agent in a network namespace answers on this machine's loopback."""
    server = (
        "import socket, sys\n"
        "peer, _ = socket.socket(fileno=int(sys.argv[1])).accept()\n"
        "peer.send(socket.gethostname().encode())\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        argv = [sys.executable, "-c", server, str(listener.fileno())]
        pair.spawn_in("h2", argv, log=folder / "log", pass_fds=[listener.fileno()])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        assert client.recv(100) == b"h2"


def test_a_program_that_cannot_be_executed_is_an_error(pair: SimulatedHosts, folder: Path) -> None:
    with pytest.raises(HostsError, match="no-such-program"):
        pair.spawn_in("h1", ["no-such-program"], log=folder / "log")


def test_commands_pass_output_failure_and_time(pair: SimulatedHosts) -> None:
    with pytest.raises(HostsError, match="exit 3: sorry"):
        pair.run_in("h1", ["sh", "-c", "echo sorry >&2; exit 3"])
    with pytest.raises(HostsError, match="no end within"):
        pair.run_in("h1", ["sleep", "1000"], timeout_s=0.2)
    assert pair.run_in("h1", ["cat"], stdin="said").stdout == "said"


def test_power_off_is_a_power_failure(pair: SimulatedHosts, folder: Path) -> None:
    namespace = os.readlink(f"/proc/{pair.pid('h1')}/ns/pid")
    pair.spawn_in("h1", ["sleep", "1000"], log=folder / "log")
    assert len(processes_in(namespace)) == 2
    pair.run_in("h1", ["touch", "/run/gone"])
    SimulatedHosts(pair.directory).power_off("h1")
    eventually(lambda: processes_in(namespace) == [], what="the kernel to have ended them all")
    assert pair.pid("h1") is None
    with pytest.raises(HostsError, match="not running"):
        pair.run_in("h1", ["true"])
    pair.start("h1")
    assert pair.run_in("h1", ["test", "-e", "/run/gone"], check=False).returncode == 1
    pair.run_in("h1", ["ping", "-c", "1", "-W", "5", pair.address("h2")])


def test_down_leaves_no_process_namespace_mount_or_file(pair: SimulatedHosts, folder: Path) -> None:
    namespaces = [os.readlink(f"/proc/{pair.pid(name)}/ns/pid") for name in ("h1", "h2", "switch")]
    pair.spawn_in("h1", ["sleep", "1000"], log=folder / "log")
    pair.down()
    assert not pair.directory.exists()
    assert [processes_in(namespace) for namespace in namespaces] == [[], [], []]
    assert str(pair.directory) not in Path("/proc/self/mountinfo").read_text()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and entry != str(os.getpid()):
            try:
                assert os.fsencode(pair.directory) not in Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
    pair.down()


def test_down_removes_nothing_that_is_not_a_set(folder: Path) -> None:
    (folder / "set").mkdir()
    (folder / "set" / "precious").write_text("kept")
    SimulatedHosts(folder / "set").down()
    assert (folder / "set" / "precious").read_text() == "kept"


@pytest.mark.parametrize("name", ["", "a/b", "..", "switch", "thirteen-long", "x y", "ü"])
def test_bad_names_are_refused_before_anything_is_made(folder: Path, name: str) -> None:
    with pytest.raises(HostsError, match="not a host name"):
        SimulatedHosts(folder / "set", libvirt=False).up(["h1", name])
    assert not (folder / "set").exists()


def test_an_unknown_host_is_named(folder: Path) -> None:
    with pytest.raises(HostsError, match="'h9'"):
        SimulatedHosts(folder / "set").address("h9")


def test_a_network_too_small_is_refused(folder: Path) -> None:
    hosts = SimulatedHosts(folder / "set", network="10.1.2.0/29", libvirt=False)
    with pytest.raises(HostsError, match="room for 5 hosts"):
        hosts.up([f"h{number}" for number in range(6)])
    assert hosts.names() == ()
