"""Keeping one dnsmasq for each network: started, adopted, reloaded, restarted, stopped.

A server of ours is any process whose command line names a configuration file in our directory, so it is found
again without its pid file and by a new agent; it belongs to init and survives us. `BRIDGE.conf` says what
the running server was started with: the server is stopped before that file changes, started after.
`BRIDGE.reload` exists from before the hosts file changes until the server was told.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from netplug.desired import DhcpService
from netplug.system import complaint, read_file, run_tool, write_file
from proto.errors import NetPlugError

STOP_MS = 2_000
LOG_BYTES_MAX = 1_048_576
COMMAND_LINE_BYTES_MAX = 4_096
LEASE_FIELDS_MIN = 3  # expiry, MAC, address; then name and client id
SUFFIXES = (".conf", ".hosts", ".leases", ".pid", ".log", ".reload")


@dataclass(frozen=True, slots=True)
class Server:
    bridge: str
    pid: int
    namespace: str  # its network namespace


class DhcpServers:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.writes = 0  # starts, stops and reloads, since this object was made

    def apply(self, services: tuple[DhcpService, ...], bridge_indexes: Mapping[str, int]) -> None:
        """Exactly these run. A server bound to a bridge that was made anew in between is restarted.

        Raises:
            NetPlugError: a server does not start.
        """
        running = self._running()
        wanted = {service.bridge for service in services}
        self.stop_except(wanted)
        for service in services:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            here = [server for server in running if server.bridge == service.bridge]
            self._ensure(service, bridge_indexes[service.bridge], here)

    def stop_except(self, bridges: set[str]) -> None:
        """Servers and files of all other bridges go."""
        for server in self._running():
            if server.bridge not in bridges:
                self._stop(server)
        for path in self.files():
            if path.name.removesuffix(path.suffix) not in bridges:
                path.unlink(missing_ok=True)
        if self._directory.is_dir() and not any(self._directory.iterdir()):
            self._directory.rmdir()

    def pids(self) -> tuple[int, ...]:
        return tuple(sorted(server.pid for server in self._running()))

    def files(self) -> list[Path]:
        return sorted(self._directory.iterdir()) if self._directory.is_dir() else []

    def _ensure(self, service: DhcpService, bridge_index: int, running: list[Server]) -> None:
        config = f"{service.config}# interface {bridge_index}\n"
        namespace = _network_namespace("thread-self")
        fit = [server for server in running if server.namespace == namespace]
        outdated = read_file(self._path(service, ".conf")) != config
        if outdated or len(fit) != 1 or len(running) != 1 or self._stale_leases(service):
            for server in running:
                self._stop(server)
            self._start(service, config)
            return
        reload_mark = self._path(service, ".reload")
        if read_file(self._path(service, ".hosts")) != service.hosts or reload_mark.exists():
            reload_mark.touch()
            write_file(self._path(service, ".hosts"), service.hosts)
            self.writes += 1
            _signal(fit[0].pid, signal.SIGHUP)
            reload_mark.unlink()
        self._trim_log(service)

    def _start(self, service: DhcpService, config: str) -> None:
        self._drop_stale_leases(service)
        self._path(service, ".reload").unlink(missing_ok=True)
        write_file(self._path(service, ".hosts"), service.hosts)
        write_file(self._path(service, ".conf"), config)
        self.writes += 1
        done = run_tool(
            [
                "dnsmasq",
                self._config_argument(service.bridge),
                f"--pid-file={self._path(service, '.pid')}",
                f"--dhcp-hostsfile={self._path(service, '.hosts')}",
                f"--dhcp-leasefile={self._path(service, '.leases')}",
                f"--log-facility={self._path(service, '.log')}",
            ]
        )
        if done.returncode != 0:
            raise NetPlugError(f"dnsmasq for {service.bridge} does not start: {complaint(done)}")

    def _stop(self, server: Server) -> None:
        self.writes += 1
        try:
            handle = os.pidfd_open(server.pid)
        except ProcessLookupError:
            return
        try:
            if self._server(server.pid) is None:
                return  # ended, and its number went to another
            waiting = select.poll()
            waiting.register(handle, select.POLLIN)
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
                if waiting.poll(STOP_MS):
                    return
            raise NetPlugError(f"dnsmasq {server.pid} of {server.bridge} does not end")
        finally:
            os.close(handle)

    def _running(self) -> list[Server]:
        pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
        return sorted(
            (server for pid in pids if (server := self._server(pid)) is not None),
            key=lambda server: server.pid,
        )

    def _server(self, pid: int) -> Server | None:
        """None: no process, a dead one, or none of ours."""
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                words = os.fsdecode(stream.read(COMMAND_LINE_BYTES_MAX)).split("\0")
        except OSError:
            return None
        if os.path.basename(words[0]) != "dnsmasq":
            return None
        head, tail = self._config_argument("\0").split("\0")
        for word in words[1:]:
            bridge = word.removeprefix(head).removesuffix(tail)
            if word == self._config_argument(bridge):
                return Server(bridge, pid, _network_namespace(str(pid)))
        return None

    def _config_argument(self, bridge: str) -> str:
        return f"--conf-file={self._directory}/{bridge}.conf"

    def _path(self, service: DhcpService, suffix: str) -> Path:
        assert suffix in SUFFIXES
        return self._directory / (service.bridge + suffix)

    def _stale_leases(self, service: DhcpService) -> bool:
        """A lease of a guest that left would keep its address from the next one to get it."""
        text = read_file(self._path(service, ".leases")) or ""
        return any(not _may_stay(line, service) for line in text.splitlines())

    def _drop_stale_leases(self, service: DhcpService) -> None:
        path = self._path(service, ".leases")
        lines = (read_file(path) or "").splitlines(keepends=True)
        write_file(path, "".join(line for line in lines if _may_stay(line, service)))

    def _trim_log(self, service: DhcpService) -> None:
        path = self._path(service, ".log")
        with suppress(FileNotFoundError):
            if path.stat().st_size > LOG_BYTES_MAX:
                os.truncate(path, 0)  # dnsmasq appends, so it goes on at the start


def _may_stay(line: str, service: DhcpService) -> bool:
    fields = line.split()
    return len(fields) < LEASE_FIELDS_MIN or (fields[1], fields[2]) in service.leases


def _network_namespace(process: str) -> str:
    try:
        return os.readlink(f"/proc/{process}/ns/net")
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
