"""Which process a guest is. libvirt's API does not tell, so: its pid file, else the process table.

Either answer is checked against the process' own command line, because a pid may be somebody else's by now
and pid files outlive their processes. The table is the way when libvirt runs as another user, under another
root, or in another PID namespace than ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

PID_DIRECTORIES = (Path("/run/libvirt/qemu"), Path("/var/run/libvirt/qemu"))


def guest_pids(names: Iterable[str]) -> Mapping[str, int]:
    """The pid of each named domain that has a process. Reads files: call it in a thread."""
    found: dict[str, int] = {}
    missing: set[str] = set()
    for name in names:
        pid = _from_pid_file(name)
        if pid is None:
            missing.add(name)
        else:
            found[name] = pid
    if missing:
        found.update(_from_process_table(missing))
    return found


def _from_pid_file(name: str) -> int | None:
    for directory in PID_DIRECTORIES:
        try:
            pid = int((directory / f"{name}.pid").read_text())
        except (OSError, ValueError):
            continue
        if _domain_of(pid) == name:
            return pid
    return None


def _from_process_table(names: set[str]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            name = _domain_of(int(entry))
            if name in names:
                found[name] = int(entry)
    return found


def _domain_of(pid: int) -> str:
    """The domain a QEMU process runs, from its `-name guest=NAME,...`; empty for any other process."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    for option, value in pairwise(argv):
        if option == b"-name" and value.startswith(b"guest="):
            return os.fsdecode(value[len(b"guest=") :].split(b",")[0])
    return ""
