"""A whole fabric on one machine: make it, look at it, break it, end it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fabric import config as configuration
from fabric.dev import first_content
from fabric.dev.cloud_client import CloudClient
from fabric.dev.credentials import ensure_ssh_key, write_credentials
from fabric.dev.guest_image import build_guest_image
from fabric.dev.layout import FILE_NAME, DevLayout, DevNode, LayoutError, agents_below
from fabric.dev.places import (
    LOOPBACK,
    AgentEndedError,
    DevRefusedError,
    HostsPlace,
    LoopbackPlace,
    Place,
    StepFailedError,
    free_port,
    has_ended,
    run,
    stop,
)
from fabric.errors import FabricError
from fabric.runtime.founding import PASSABLE
from fabric.runtime.local_socket import AgentNotRunningError, LocalClient
from fabric.store.files import write_private

START_TIMEOUT_S = 90.0
STOP_GRACE_S = 10.0
BUSY_S = 30.0  # so long an agent may be busy while all of them start on one machine
LOOK_S = 2.0  # for `status`: an agent that is well answers in milliseconds
PHYSICAL_NETWORK = "phy0"
UPLINK = "eth1"
MARKER_FILE = ".fabric-dev"
PASSWORD_FILE = "admin-password"  # noqa: S105  # a file's name
NODES_MAX = 64
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    directory: Path
    nodes: int = 3
    driver: str = "sim"
    api_port: int = 0  # 0: any free port
    state_url: str = ""
    voters: int = 0  # only the first so many nodes may hold the log; 0: all may
    voters_in_process: bool = False  # in their agents, else in processes of their own


class DevFabric:
    """One fabric in one directory. Every public method may be called from a fresh process."""

    def __init__(self, directory: Path, say: Say) -> None:
        self.directory = directory.absolute()
        self._say = say

    def layout(self) -> DevLayout:
        found = DevLayout.read(self.directory)
        if found is None:
            raise DevRefusedError(
                f"no fabric in {self.directory}; `fabric dev up --dir {self.directory}` starts one"
            )
        return found

    def is_running(self) -> bool:
        found = DevLayout.read(self.directory)
        return found is not None and any(node.is_running() for node in found.nodes)

    def up(self, options: DevOptions) -> DevLayout:
        """From nothing to a cloud that answers. Raises StepFailedError naming step, reason and log."""
        place = self._place(options.driver)
        names = [f"h{i}" for i in range(1, options.nodes + 1)]
        self._claim_directory()
        with self._step("simulated hosts" if options.driver == "libvirt" else "directories"):
            place.prepare(names)
        layout = self._configure(options, place, names)
        with self._step(f"found the fabric on {names[0]}", layout.nodes[0].log):
            self._found(place, layout)
            layout = self._start(place, layout, names[0])
        for name in names[1:]:
            with self._step(f"join {name} by token", self._node(layout, name).log):
                self._join(place, layout, name)
                layout = self._start(place, layout, name)
        with self._step(f"wait until all {len(names)} nodes see each other", layout.nodes[0].log):
            self._wait_members(layout)
        with self._step("wait for the API", layout.nodes[0].log):
            self._wait_api(layout)
        return layout

    def fill(self, layout: DevLayout) -> None:
        """Flavors, image, network, key pair: through the public API."""
        guest = None
        if layout.driver == "libvirt":
            guest = self.directory / "guest"
            with self._step("build the guest image"):
                build_guest_image(guest)
        _, public_key = ensure_ssh_key(self.directory)
        physical = PHYSICAL_NETWORK if layout.driver == "libvirt" else None
        with self._step("register flavors, image, network, key pair", layout.nodes[0].log):
            first_content.register(
                self.cloud(layout), guest=guest, public_key=public_key, physical=physical, say=self._detail
            )

    def first_server(self, layout: DevLayout, *, timeout_s: float) -> first_content.FirstServer:
        """Boots one server; with real guests waits until it answers ping and ssh."""
        cloud = self.cloud(layout)
        with self._step(f"boot server {first_content.FIRST_SERVER}", layout.nodes[0].log):
            server = first_content.boot_first(cloud, timeout_s=timeout_s)
            first_content.open_for_login(cloud)
        if layout.driver == "libvirt":
            log = self._node(layout, server.host).log
            with self._step(f"wait until {server.address} answers ping and ssh", log):
                ping = ["ping", "-c", "1", "-W", "1", server.address]
                self._until(ping, server.host, timeout_s=timeout_s)
                self._until([*self.ssh(server.address), "true"], server.host, timeout_s=timeout_s)
        return server

    def ssh(self, address: str) -> list[str]:
        """The ssh command for a guest, to be run on its host."""
        key = str(self.directory / "id_ed25519")
        quiet = [
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ]
        return ["ssh", "-i", key, *quiet, "-o", "ConnectTimeout=5", f"root@{address}"]

    def command_on(self, name: str, argv: Sequence[str]) -> list[str]:
        layout = self.layout()
        self._node(layout, name)
        return self._place(layout.driver).command(name, argv)

    def start(self, name: str) -> DevLayout:
        layout = self.layout()
        node = self._node(layout, name)
        if node.is_running():
            if not _answers(node):
                raise DevRefusedError(
                    f"{name} runs (pid {node.pid}) and does not answer: it is stopped or stuck, or still "
                    f"starting; `kill -CONT {node.pid}` lets one go on that was stopped, "
                    f"`fabric dev kill {name}` ends it"
                )
            self._say(f"{name} is running already")
            return layout
        layout = self._start(self._place(layout.driver), layout, name)
        return layout

    def kill(self, name: str, number: int) -> None:
        """Sends the signal to the agent alone; its guests and its host go on."""
        node = self._node(self.layout(), name)
        if not node.is_running():
            raise DevRefusedError(f"{name}: its agent is not running; `fabric dev start {name}` starts it")
        os.kill(node.pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            deadline = time.monotonic() + STOP_GRACE_S
            while node.is_running() and time.monotonic() < deadline:
                time.sleep(0.01)

    def down(self) -> bool:
        """Ends every process and removes every file of it, also of one half made or damaged.

        False: there was nothing. Raises DevRefusedError, removing nothing, for a directory not ours.
        """
        if not self.directory.exists():
            return False
        if not self.is_ours():
            raise DevRefusedError(f"{self.directory} holds no fabric; it was left as it is")
        recorded: list[int] = []
        with contextlib.suppress(LayoutError):
            found = DevLayout.read(self.directory)
            recorded = [node.pid for node in found.nodes if node.is_running()] if found else []
        stop(sorted({*recorded, *agents_below(self.directory)}), grace_s=STOP_GRACE_S)
        if (self.directory / "hosts").exists():
            HostsPlace(self.directory / "hosts").down()
        shutil.rmtree(self.directory)
        return True

    def is_ours(self) -> bool:
        """Whether `up` made what is in the directory. Nothing else may ever be removed."""
        return any((self.directory / name).is_file() for name in (MARKER_FILE, FILE_NAME))

    def status(self) -> dict[str, Any]:
        layout = self.layout()
        value = layout.as_json()
        with ThreadPoolExecutor(
            len(layout.nodes)
        ) as pool:  # several may be stuck: they are waited for at once
            answers = list(pool.map(_answers, layout.nodes))
        for entry, node, does_answer in zip(value["nodes"], layout.nodes, answers, strict=True):
            entry["running"] = node.is_running()
            entry["answers"] = does_answer
        return value

    def members(self, layout: DevLayout) -> list[dict[str, Any]]:
        """In the eyes of the first node that runs."""
        node = next((node for node in layout.nodes if node.is_running()), layout.nodes[0])
        rows: list[dict[str, Any]] = LocalClient(node.dir, read_timeout_s=BUSY_S).get("/members")
        return rows

    def cloud(self, layout: DevLayout) -> CloudClient:
        """At the first address that answers, of nodes that run. Raises OSError, FabricError of the last."""
        password = (self.directory / PASSWORD_FILE).read_text()
        running = [url for url, node in zip(layout.api_urls, layout.nodes, strict=True) if node.is_running()]
        last: Exception = StepFailedError("no node runs")
        for url in running:
            client = CloudClient(url)
            try:
                client.login("admin", password, "admin")
            except (OSError, FabricError) as error:
                last = error
            else:
                return client
        raise last

    # -- steps

    def _claim_directory(self) -> None:
        """The directory, 0700, and marked as ours before anything else is in it: `down` goes by the mark."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            os.chmod(self.directory, PASSABLE)
            (self.directory / MARKER_FILE).write_text(
                "made by `fabric dev up`, removed by `fabric dev down`\n"
            )
        except OSError as error:
            raise DevRefusedError(
                f"{self.directory}: cannot be made ({error.strerror}); --dir names another place"
            ) from error

    def _configure(self, options: DevOptions, place: Place, names: Sequence[str]) -> DevLayout:
        ports = [options.api_port or free_port(), *(free_port() for _ in names[1:])]
        urls = [f"http://{LOOPBACK}:{port}" for port in ports]
        nodes: list[DevNode] = []
        for name, port, url in zip(names, ports, urls, strict=True):
            home = self.directory / "nodes" / name
            (home / "state").mkdir(parents=True, exist_ok=True)
            os.chmod(home / "state", PASSABLE)
            may_vote = not options.voters or len(nodes) < options.voters
            config = self._config(options, place, name, home / "state", url, port, may_vote=may_vote)
            path = home / "fabric.toml"
            write_private(path, configuration.render(config).encode())
            nodes.append(
                DevNode(
                    name=name,
                    id="",
                    pid=0,
                    dir=home / "state",
                    config=path,
                    log=home / "agent.log",
                    api_port=port,
                )
            )
        password = secrets.token_urlsafe(12)
        write_private(self.directory / PASSWORD_FILE, password.encode())
        write_credentials(self.directory, url=urls[0], password=password)
        layout = DevLayout(
            directory=self.directory,
            driver=options.driver,
            api_urls=tuple(urls),
            api_host=LOOPBACK,
            api_port=ports[0],
            nodes=tuple(nodes),
            state_url=options.state_url,
        )
        layout.write()
        return layout

    def _config(
        self,
        options: DevOptions,
        place: Place,
        name: str,
        state: Path,
        url: str,
        port: int,
        *,
        may_vote: bool,
    ) -> configuration.Config:
        real = options.driver == "libvirt"
        mesh = configuration.MeshSection(
            address=place.address(name),
            port=7400 if real else free_port(),
            door_port=7401 if real else free_port(),
            voter_port=7402 if real else free_port(),
        )
        uplinks = {PHYSICAL_NETWORK: UPLINK} if real else {}
        return configuration.Config(
            node=configuration.NodeSection(name=name, state_dir=str(state)),
            mesh=mesh,
            api=configuration.ApiSection(listen=LOOPBACK, port=port, public_url=url),
            state=configuration.StateSection(url=options.state_url),
            voters=configuration.VotersSection(eligible=may_vote, in_process=options.voters_in_process),
            compute=configuration.ComputeSection(driver=options.driver),
            network=configuration.NetworkSection(uplinks=uplinks),
        )

    def _found(self, place: Place, layout: DevLayout) -> None:
        node = layout.nodes[0]
        argv = [*_fabric(), "init", "--config", str(node.config), "--admin-password-file", "-"]
        run(place.command(node.name, argv), stdin=(self.directory / PASSWORD_FILE).read_text())

    def _join(self, place: Place, layout: DevLayout, name: str) -> None:
        founder = LocalClient(layout.nodes[0].dir, read_timeout_s=BUSY_S)
        token = founder.post("/token", {"ttl_s": 300, "uses": 1})["token"]
        argv = [*_fabric(), "join", "-", "--config", str(self._node(layout, name).config)]
        run(place.command(name, argv), stdin=token)

    def _start(self, place: Place, layout: DevLayout, name: str) -> DevLayout:
        """Starts one agent and waits for its local socket."""
        node = self._node(layout, name)
        argv = [*_fabric(), "agent", "--config", str(node.config)]
        with contextlib.ExitStack() as stack:
            # bound out here, so that an agent inside a network namespace answers on this machine's loopback;
            # the socket is the agent's alone once we let go of it, and it listens when it has the rows
            api = stack.enter_context(_bind(layout.api_host, node.api_port))
            pass_fds = [api.fileno()]
            argv += ["--api-fd", str(api.fileno())]
            pid = place.spawn(name, argv, log=node.log, pass_fds=pass_fds)
        started = replace(node, pid=pid)
        layout = _with_node(layout, started)
        layout.write()
        status = self._wait_local(started)
        layout = _with_node(layout, replace(started, id=status["id"]))
        layout.write()
        return layout

    def _wait_local(self, node: DevNode) -> Any:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(AgentNotRunningError, FileNotFoundError):
                status = LocalClient(node.dir, read_timeout_s=BUSY_S).get("/status")
                if status["ready"]:
                    return status
            if has_ended(node.pid):
                raise AgentEndedError(f"the agent of {node.name} ended: {last_line(node.log)}")
            if time.monotonic() > deadline:
                raise StepFailedError(f"the agent of {node.name} was not ready in {START_TIMEOUT_S:.0f} s")
            time.sleep(0.05)

    def _wait_members(self, layout: DevLayout) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        wanted = {node.name for node in layout.nodes}
        for node in layout.nodes:
            client = LocalClient(node.dir, read_timeout_s=BUSY_S)
            while {row["name"] for row in client.get("/members") if _is_in_service(row)} != wanted:
                if time.monotonic() > deadline:
                    raise StepFailedError(
                        f"{node.name} does not see all members alive, with room for servers"
                    )
                time.sleep(0.05)

    def _wait_api(self, layout: DevLayout) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                hosts = self.cloud(layout).get("/compute/v2.1/os-hypervisors")["hypervisors"]
                if len([host for host in hosts if host["state"] == "up"]) >= len(layout.nodes):
                    return
            except (OSError, FabricError) as error:
                if time.monotonic() > deadline:
                    raise StepFailedError(f"the API does not answer: {error}") from error
            if time.monotonic() > deadline:
                raise StepFailedError("not every host has registered with the API")
            time.sleep(0.1)

    def _until(self, argv: Sequence[str], name: str, *, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                run(self.command_on(name, argv), timeout_s=20)
                return
            except StepFailedError as error:
                if time.monotonic() > deadline:
                    raise StepFailedError(f"{argv[0]}: {error}") from error
            time.sleep(0.2)

    # -- small things

    def _place(self, driver: str) -> Place:
        return HostsPlace(self.directory / "hosts") if driver == "libvirt" else LoopbackPlace()

    def _node(self, layout: DevLayout, name: str) -> DevNode:
        for node in layout.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in layout.nodes)
        raise DevRefusedError(f"no node {name!r} in {self.directory}; there are: {names}")

    def _detail(self, text: str) -> None:
        self._say(f"    {text}")

    @contextlib.contextmanager
    def _step(self, what: str, log: Path | None = None) -> Iterator[None]:
        began = time.monotonic()
        self._say(f"==> {what}")
        try:
            yield
        except (FabricError, OSError, RuntimeError) as error:
            where = f"\n  log: {log}" if log is not None else ""
            raise StepFailedError(f"step failed: {what}\n  why: {error}{where}") from error
        self._say(f"    done in {time.monotonic() - began:.1f} s")


def last_line(path: Path) -> str:
    """The end of a log: what its process said last."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "it left no log"
    return lines[-1][-1000:] if lines else "it left no log"


def _answers(node: DevNode) -> bool:
    """Whether its agent runs and says so itself."""
    try:
        LocalClient(node.dir, read_timeout_s=LOOK_S).get("/status")
    except (FabricError, OSError):
        return False
    return True


def _fabric() -> list[str]:
    return [sys.executable, "-m", "fabric.cli.main"]


def _with_node(layout: DevLayout, node: DevNode) -> DevLayout:
    nodes = tuple(node if known.name == node.name else known for known in layout.nodes)
    return replace(layout, nodes=nodes)


def _is_in_service(member: dict[str, Any]) -> bool:
    return bool(member["state"] == "alive" and member["capacity"]["vcpus"] > 0)


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StepFailedError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener
