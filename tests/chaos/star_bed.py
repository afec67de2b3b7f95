"""Five machines of one's own: an agent in each of five network namespaces, the clients in a sixth, a
database in a seventh, and a hub that routes between them and can cut (`bench/_star.py`). Needs root.

To be used in an enclosure alone: it mounts, and moves the calling thread into the clients' namespace, which
threads begun later inherit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench._star import Star
from fabric import config as configuration
from fabric.dev.layout import DevLayout, DevNode
from fabric.dev.up import last_line
from fabric.errors import FabricError
from fabric.runtime.founding import PASSABLE
from fabric.runtime.local_socket import LocalClient
from fabric.store.files import write_private
from tests.chaos.faked_clock import FakedClock
from tests.chaos.keeper import Keeper
from tests.chaos.small_disk import SmallDisk

NODES = 5
CLIENTS, DATABASE = NODES, NODES + 1  # machines' numbers
MACHINES = NODES + 2
API_PORT = 8774
# The smallest segments: logs are cut often, and who was away needs a snapshot.
SEGMENT_BYTES = 1 << 20
# A voter with less than 64 MB left takes nothing new. No block is used before it is written.
DISK_BYTES = 1 << 30  # sparse; half an hour of writes and three copies of the rows have to fit
DEADLINE_S = 60  # nothing may stay in BUILD for longer
START_TIMEOUT_S = 600.0  # where the machine is busy with much else, imports alone take minutes
COMMAND_TIMEOUT_S = 180
LOOK_S = 0.05
CLONE_NEWNET = 0x4000_0000
ROOT = Path(__file__).resolve().parents[2]
FABRIC = (sys.executable, "-m", "fabric.cli.main")

_libc = ctypes.CDLL(None, use_errno=True)


class StarBed:
    """Implements `Bed`, and is its own `Faults`."""

    def __init__(
        self,
        directory: Path,
        star: Star,
        *,
        state_url: str = "",
        has_own_clocks: bool = False,
        in_process: bool = False,
    ) -> None:
        """`star` has MACHINES machines."""
        self._directory = directory
        self._star = star
        self._state_url = state_url
        self._in_process = in_process
        self._machines = {f"h{number + 1}": number for number in range(NODES)}
        self._password = secrets.token_urlsafe(12)
        self._disks = {name: SmallDisk(directory / name / "disk", DISK_BYTES) for name in self._machines}
        self._has_own_clocks = has_own_clocks
        self._clocks: dict[str, FakedClock] = {}
        self._keeper = Keeper(self._spawn, lambda name: last_line(self.log(name)))
        self._keeper.start()

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._machines)

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(self._url(name) for name in self._machines)

    @property
    def faults(self) -> StarBed:
        return self

    # -- Bed

    def up(self) -> None:
        enter_namespace(self._star.namespace(CLIENTS))
        for name in self._machines:
            self._prepare(name)
        self._describe()
        first, *others = self._machines
        self._on(first, "init", "--admin-password-file", "-", stdin=self._password)
        self.start(first)
        founder = LocalClient(self.state_dir(first), read_timeout_s=START_TIMEOUT_S)
        token = founder.post("/token", {"ttl_s": 600, "uses": len(others)})["token"]
        for name in others:
            self._on(name, "join", "-", stdin=token)
            self._keeper.begin(name)
        for name in others:
            self._wait_ready(name)

    def down(self) -> None:
        self._keeper.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.end(tuple(self._machines), signal.SIGKILL)
        for disk in self._disks.values():
            disk.unmount()

    def pid(self, name: str) -> int | None:
        return self._keeper.pid(name)

    def state_dir(self, name: str) -> Path:
        return self._disks[name].directory / "state"

    def log(self, name: str) -> Path:
        return self._home(name) / "agent.log"

    def kill(self, names: Sequence[str], number: int) -> None:
        self._keeper.end(names, number)

    def start(self, name: str) -> None:
        self._keeper.begin(name)
        self._wait_ready(name)

    def command(self, name: str, argv: Sequence[str]) -> str:
        enter = self._star.enter(self._machines[name])
        return _run([*enter, *FABRIC, *argv, "--dir", str(self._directory), "--node", name])

    def ended(self) -> Sequence[str]:
        return tuple(self._keeper.ended)

    def password(self) -> str:
        return self._password

    # -- Faults

    def split(self, one: Iterable[str], other: Iterable[str]) -> None:
        self._star.split(self._numbers(one), self._numbers(other))

    def deafen(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        self._star.cut(self._numbers(senders), self._numbers(receivers))

    def unplug(self, names: Iterable[str]) -> None:
        self._star.silence(self._numbers(names))

    def mend(self) -> None:
        self._star.mend()

    def set_clock(self, name: str, offset_s: int) -> None:
        self._clocks[name].set(offset_s)

    def fill_disk(self, name: str) -> None:
        self._keeper.may_end(name, True)
        self._disks[name].fill()

    def free_disk(self, name: str) -> None:
        self._disks[name].free()

    def disk_may_end_nobody(self) -> None:
        """Whoever ends from here on has another reason than a disk that was full."""
        for name in self._machines:
            self._keeper.may_end(name, False)

    # -- making

    def _prepare(self, name: str) -> None:
        self._home(name).mkdir(parents=True)
        self._disks[name].mount()
        self.state_dir(name).mkdir()
        os.chmod(self.state_dir(name), PASSABLE)
        if self._has_own_clocks:
            self._clocks[name] = FakedClock(self._home(name) / "clock")
        config = configuration.Config(
            node=configuration.NodeSection(name=name, state_dir=str(self.state_dir(name))),
            mesh=configuration.MeshSection(address=self._address(name)),
            api=configuration.ApiSection(port=API_PORT, public_url=self._url(name)),
            state=configuration.StateSection(url=self._state_url, segment_bytes=SEGMENT_BYTES),
            voters=configuration.VotersSection(in_process=self._in_process),
            compute=configuration.ComputeSection(
                driver="sim", build_deadline_s=DEADLINE_S, action_deadline_s=DEADLINE_S
            ),
        )
        write_private(self._config(name), configuration.render(config).encode())

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        clock = self._clocks.get(name)
        with self.log(name).open("ab") as log:
            return subprocess.Popen(
                self._argv(name, "agent"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={**_environment(), **({} if clock is None else clock.environment())},
            )

    def _wait_ready(self, name: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(FabricError, OSError):
                if LocalClient(self.state_dir(name)).get("/status")["ready"]:
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{name} not ready in {START_TIMEOUT_S:.0f} s: {last_line(self.log(name))}"
                )
            time.sleep(LOOK_S)

    def _describe(self) -> None:
        """Commands find a node by name, as in what `fabric dev up` makes."""
        DevLayout(
            directory=self._directory,
            driver="sim",
            api_urls=self.urls,
            api_host=self._address(self.names[0]),
            api_port=API_PORT,
            state_url=self._state_url,
            nodes=tuple(
                DevNode(
                    name=name,
                    id="",
                    pid=0,
                    dir=self.state_dir(name),
                    config=self._config(name),
                    log=self.log(name),
                )
                for name in self.names
            ),
        ).write()

    def _on(self, name: str, verb: str, *argv: str, stdin: str) -> None:
        _run(self._argv(name, verb, *argv), stdin=stdin)

    def _argv(self, name: str, verb: str, *argv: str) -> list[str]:
        enter = self._star.enter(self._machines[name])
        return [*enter, *FABRIC, verb, "--config", str(self._config(name)), *argv]

    def _numbers(self, names: Iterable[str]) -> list[int]:
        return [self._machines[name] for name in names]

    def _address(self, name: str) -> str:
        return self._star.address(self._machines[name])

    def _url(self, name: str) -> str:
        return f"http://{self._address(name)}:{API_PORT}"

    def _home(self, name: str) -> Path:
        return self._directory / name

    def _config(self, name: str) -> Path:
        return self._home(name) / "fabric.toml"


def enter_namespace(path: Path) -> None:
    """This thread alone, and those it begins."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


def _run(argv: Sequence[str], *, stdin: str = "") -> str:
    """Raises CalledProcessError."""
    done = subprocess.run(
        argv,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        cwd="/",
        env=_environment(),
    )
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout)
    return done.stdout


def _environment() -> Mapping[str, str]:
    """Ours without what would steer the agent: its configuration file alone counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FABRIC_")}
    return kept | {"PYTHONPATH": str(ROOT)}
