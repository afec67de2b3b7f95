"""`DIR/fabric.json`: what a development fabric consists of. Written atomically, read by every command."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE_NAME = "fabric.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevNode:
    name: str
    id: str
    pid: int  # of the agent, as seen from the root PID namespace; 0: not running
    dir: Path  # the agent's state directory; agent.sock lies in it
    config: Path
    log: Path

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
        """None when there is no fabric in it."""
        try:
            value = json.loads((directory / FILE_NAME).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return cls(
            directory=directory,
            driver=value["driver"],
            api_urls=tuple(value["api"]),
            api_host=value["api_host"],
            api_port=value["api_port"],
            state_url=value.get("state_url", ""),
            nodes=tuple(
                DevNode(
                    name=node["name"],
                    id=node["id"],
                    pid=node["pid"],
                    dir=Path(node["dir"]),
                    config=Path(node["config"]),
                    log=Path(node["log"]),
                )
                for node in value["nodes"]
            ),
        )

    def write(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        fresh = self.directory / (FILE_NAME + ".new")
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
                }
                for node in self.nodes
            ],
        }


def is_agent(pid: int, config: Path) -> bool:
    """Whether the process is an agent with this configuration: a pid alone may be somebody else's by now."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z" and os.fsencode(config) in argv
