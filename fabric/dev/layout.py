"""`DIR/fabric.json`: what a development fabric consists of. Written atomically, read by every command."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabric.errors import FabricError, Outcome

FILE_NAME = "fabric.json"
FILE_BYTES_MAX = 1 << 20


class LayoutError(FabricError):
    """`fabric.json` is there, and cannot be read or is not one."""

    code = "fabric.dev.layout"
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class DevNode:
    name: str
    id: str
    pid: int  # of the agent, as seen from the root PID namespace; 0: not running
    dir: Path  # the agent's state directory; agent.sock lies in it
    config: Path
    log: Path
    api_port: int = 0  # where its API listens once it has the rows

    def is_running(self) -> bool:
        return self.pid > 0 and is_agent(self.pid, self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class DevLayout:
    directory: Path
    driver: str
    api_urls: tuple[str, ...]
    api_host: str
    api_port: int
    nodes: tuple[DevNode, ...]
    state_url: str = ""

    @classmethod
    def read(cls, directory: Path) -> DevLayout | None:
        """None when there is no fabric in it. Raises LayoutError when the file is damaged."""
        path = directory / FILE_NAME
        try:
            with path.open("rb") as file:
                text = file.read(FILE_BYTES_MAX)
            return cls._of_json(directory, json.loads(text))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise LayoutError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise LayoutError(
                f"{path}: damaged, not the description of a fabric; `fabric dev down --dir {directory}` "
                "ends and removes what is left of it"
            ) from error

    @classmethod
    def _of_json(cls, directory: Path, value: Any) -> DevLayout:
        layout = cls(
            directory=directory,
            driver=str(value["driver"]),
            api_urls=tuple(str(url) for url in value["api"]),
            api_host=str(value["api_host"]),
            api_port=int(value["api_port"]),
            state_url=str(value.get("state_url", "")),
            nodes=tuple(
                DevNode(
                    name=str(node["name"]),
                    id=str(node["id"]),
                    pid=int(node["pid"]),
                    dir=Path(node["dir"]),
                    config=Path(node["config"]),
                    log=Path(node["log"]),
                    api_port=int(node.get("api_port", 0)),
                )
                for node in value["nodes"]
            ),
        )
        if not layout.nodes or not layout.api_urls:
            raise ValueError("a fabric has a node and an address")
        return layout

    def write(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        fresh = self.directory / (FILE_NAME + ".new")
        fresh.touch(mode=0o600)  # a database URL may hold a password
        fresh.write_text(json.dumps(self.as_json(), indent=2) + "\n")
        os.replace(fresh, self.directory / FILE_NAME)

    def as_json(self) -> dict[str, Any]:
        return {
            "api": list(self.api_urls),
            "api_host": self.api_host,
            "api_port": self.api_port,
            "driver": self.driver,
            "state_url": self.state_url,
            "nodes": [
                {
                    "name": node.name,
                    "id": node.id,
                    "pid": node.pid,
                    "dir": str(node.dir),
                    "config": str(node.config),
                    "log": str(node.log),
                    "api_port": node.api_port,
                }
                for node in self.nodes
            ],
        }


def agents_below(directory: Path) -> list[int]:
    """Every agent of the fabric in `directory`, recorded in its layout or not, as /proc shows them."""
    configs = {os.fsencode(path) for path in (directory / "nodes").glob("*/fabric.toml")}
    if not configs:
        return []
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    commands = {pid: _arguments(pid) for pid in pids}
    return [pid for pid, words in commands.items() if configs.intersection(words) and _is_agent(words)]


def is_agent(pid: int, config: Path) -> bool:
    """Whether the process is an agent with this configuration: a pid alone may be somebody else's by now."""
    arguments = _arguments(pid)
    return os.fsencode(config) in arguments and _is_agent(arguments)


def _is_agent(arguments: list[bytes]) -> bool:
    return b"agent" in arguments and b"--config" in arguments


def _arguments(pid: int) -> list[bytes]:
    """Empty for a process that is gone, or dead and not yet waited for."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return []
    return [] if state == "Z" else arguments
