"""The few privileged things done without netlink: running a system tool, setting a sysctl, writing a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from netplug.desired import Sysctl
from proto.errors import NetPlugError

TOOL_TIMEOUT_S = 30
OUTPUT_CHARACTERS_MAX = 500  # of a tool's complaint, in an error
PROC_SYS = Path("/proc/sys")
BRIDGE_FILTER = PROC_SYS / "net/bridge/bridge-nf-call-iptables"


def run_tool(argv: list[str], *, text_in: str = "") -> subprocess.CompletedProcess[str]:
    """Runs to the end in a session of its own. A bad exit status is the caller's to judge.

    Raises:
        NetPlugError: the tool is not installed, or ran too long.
    """
    try:
        return subprocess.run(
            argv,
            input=text_in,
            capture_output=True,
            text=True,
            timeout=TOOL_TIMEOUT_S,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise NetPlugError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise NetPlugError(f"{argv[0]} did not end within {TOOL_TIMEOUT_S} s") from error


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr or done.stdout).strip()[:OUTPUT_CHARACTERS_MAX] or f"exit status {done.returncode}"


def ensure_sysctl(sysctl: Sysctl) -> bool:
    """True when it had to be changed. Acts in this thread's network namespace."""
    path = PROC_SYS / sysctl.key
    if sysctl.optional and not path.exists():
        return False
    if path.read_text().strip() == sysctl.value:
        return False
    path.write_text(sysctl.value)
    return True


def can_filter_bridges() -> bool:
    """Whether br_netfilter is there; loads it where the kernel has it as a module."""
    if not BRIDGE_FILTER.exists():
        try:
            run_tool(["modprobe", "br_netfilter"])
        except NetPlugError:
            return False
    return BRIDGE_FILTER.exists()


def write_file(path: Path, text: str) -> None:
    """All or nothing: who reads at any moment sees the old text or the new one."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text)
    os.replace(draft, path)


def read_file(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
