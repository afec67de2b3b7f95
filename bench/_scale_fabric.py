"""A fabric of many whole agents on loopback: founded, joined by token, three of them hold the log."""

from __future__ import annotations

import os
import resource
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from bench._scale_agent import fork_agent, fork_join
from fabric import config as configuration
from fabric.dev import first_content
from fabric.dev.cloud_client import CloudClient
from fabric.dev.credentials import ensure_ssh_key
from fabric.dev.places import LOOPBACK, LoopbackPlace, free_port, has_ended, run, stop
from fabric.dev.up import last_line
from fabric.errors import FabricError
from fabric.runtime.local_socket import LocalClient
from fabric.runtime.node_identity import load_membership
from fabric.store.files import write_private

CORE = 3  # these vote, serve the API, and are started as processes of their own; the others are forked
JOINS_AT_ONCE = 4
UNSETTLED_MAX = 24  # started, and not alive yet in the founder's eyes
UP_S = 300.0  # until all are known to all
STEP_S = 120.0
STOP_GRACE_S = 30.0
WORDS_LINES = 30
TOKEN_TTL_S = 24 * 3_600


class ScaleFabric:
    """`pids`: of the agents that were started, by name; h1 is the founder."""

    def __init__(self, folder: Path, agents: int, pace: float) -> None:
        self._folder = folder
        self._pace = pace
        self.names = [f"h{number}" for number in range(1, agents + 1)]
        self.pids: dict[str, int] = {}
        self._password = secrets.token_urlsafe(12)
        self._api_port = free_port()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1 << 16)), hard))

    def up(self) -> None:
        """All are members, in the eyes of the founder and of the last, and up as hosts in the API's."""
        for name in self.names:
            self._configure(name)
        founder = self.names[0]
        command = [sys.executable, "-m", "fabric.cli.main", "init"]
        run(
            [*command, "--config", str(self._config(founder)), "--admin-password-file", "-"],
            stdin=self._password,
        )
        self._start(founder)
        self.until(self._is_ready, STEP_S, f"{founder} is not ready")
        token = self.invite(len(self.names))
        for name in self.names[1:CORE]:
            self._wait_joins([(name, fork_join(self._config(name), token, self._log(name)))])
            self._start(name)
        self.until(
            lambda: self._alive(founder) == min(CORE, len(self.names)), STEP_S, "the core is not alive"
        )
        self._join_all(token)
        for observer in (founder, self.names[-1]):
            self.until(
                lambda observer=observer: self._alive(observer) == len(self.names),  # type: ignore[misc]
                UP_S,
                f"not all are alive in the eyes of {observer}",
            )
        self.until(lambda: self.hosts_up() == len(self.names), UP_S, "not all hosts are up")

    def down(self) -> None:
        stop(list(self.pids.values()), grace_s=STOP_GRACE_S)

    def fill(self) -> None:
        """Flavors, image, network: through the public API."""
        _, public_key = ensure_ssh_key(self._folder)
        first_content.register(
            self.cloud(), guest=None, public_key=public_key, physical=None, say=lambda text: None
        )

    def cloud(self) -> CloudClient:
        client = CloudClient(f"http://{LOOPBACK}:{self._api_port}", timeout_s=STEP_S)
        client.login("admin", self._password, "admin")
        return client

    def local(self, name: str) -> LocalClient:
        return LocalClient(self._state(name), read_timeout_s=STEP_S)

    def invite(self, uses: int) -> str:
        made = self.local(self.names[0]).post("/token", {"ttl_s": TOKEN_TTL_S, "uses": uses})
        return str(made["token"])

    def hosts_up(self) -> int:
        try:
            hosts = self.cloud().get("/compute/v2.1/os-hypervisors")["hypervisors"]
        except (OSError, FabricError):
            return 0
        return sum(host["state"] == "up" for host in hosts)

    def need_all_running(self) -> None:
        """Raises RuntimeError with the last words of one that ended."""
        for name, pid in self.pids.items():
            if has_ended(pid):
                raise RuntimeError(f"the agent of {name} ended: {last_line(self._log(name))}")

    def last_words(self) -> str:
        """Of the founder, and how long the machine's queue was."""
        log = self._log(self.names[0])
        lines = log.read_text(errors="replace").splitlines()[-WORDS_LINES:] if log.exists() else []
        return "\n".join([f"load {os.getloadavg()}; the founder's last words:", *lines])

    def until(self, is_so: Callable[[], bool], within_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + within_s
        while not is_so():
            self.need_all_running()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{otherwise}, after {within_s:.0f} s")
            time.sleep(0.2)

    def _join_all(self, token: str) -> None:
        """Each is started when it is joined; only so many at a time are not known yet."""
        waiting = deque(self.names[CORE:])
        while waiting:
            wave = [waiting.popleft() for _ in range(min(JOINS_AT_ONCE, len(waiting)))]
            self._wait_joins([(name, fork_join(self._config(name), token, self._log(name))) for name in wave])
            for name in wave:
                self.pids[name] = fork_agent(self._config(name), self._pace, self._log(name))
            enough = len(self.pids) - UNSETTLED_MAX
            self.until(
                lambda enough=enough: self._alive(self.names[0]) >= enough,  # type: ignore[misc]
                STEP_S,
                f"fewer than {enough} are alive",
            )

    def _wait_joins(self, joins: list[tuple[str, int]]) -> None:
        deadline = time.monotonic() + STEP_S
        for name, pid in joins:
            while not has_ended(pid):
                if time.monotonic() > deadline:
                    stop([pid], grace_s=1.0)
                    raise RuntimeError(f"{name} did not join within {STEP_S:.0f} s")
                time.sleep(0.01)
            if load_membership(self._state(name)) is None:
                raise RuntimeError(f"{name} did not join: {last_line(self._log(name))}")

    def _alive(self, observer: str) -> int:
        try:
            return sum(row["state"] == "alive" for row in self.local(observer).get("/members"))
        except (OSError, FabricError):
            return 0

    def _is_ready(self) -> bool:
        try:
            return bool(self.local(self.names[0]).get("/status")["ready"])
        except (OSError, FabricError):
            return False

    def _start(self, name: str) -> None:
        argv = [sys.executable, "-m", "bench._scale_agent", str(self._config(name)), str(self._pace)]
        self.pids[name] = LoopbackPlace().spawn(name, argv, log=self._log(name), pass_fds=())

    def _configure(self, name: str) -> None:
        first, may_vote = name == self.names[0], name in self.names[:CORE]
        config = configuration.Config(
            node=configuration.NodeSection(name=name, state_dir=str(self._state(name))),
            mesh=configuration.MeshSection(
                address=LOOPBACK, port=free_port(), door_port=free_port(), voter_port=free_port()
            ),
            api=configuration.ApiSection(listen=LOOPBACK, port=self._api_port if first else free_port()),
            voters=configuration.VotersSection(eligible=may_vote),
            compute=configuration.ComputeSection(driver="sim"),
        )
        self._config(name).parent.mkdir()
        write_private(self._config(name), configuration.render(config).encode())

    def _config(self, name: str) -> Path:
        return self._folder / name / "fabric.toml"

    def _state(self, name: str) -> Path:
        return self._folder / name / "state"

    def _log(self, name: str) -> Path:
        return self._folder / name / "agent.log"
