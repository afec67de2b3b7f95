"""Process 1 of a simulated host: sets its namespaces up, starts libvirtd, then reaps orphans.

Run by path in fresh namespaces (`hosts.py` does), standard library only:

    hosts_init.py NAME BASE READY_FD [SUBDIRECTORY=MOUNT_POINT ...] [--libvirtd]

Says "ready", or why not, on READY_FD; whoever listens there learns our outer pid from the kernel. Without
the reaping, libvirt would wait for ever on the zombies of QEMU processes it did not start itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

LIBVIRTD = ("libvirtd", "--listen", "-d", "-p", "/run/libvirtd.pid")
LIBVIRTD_TIMEOUT_S = 60  # 0.4 s on a quiet machine
MESSAGE_BYTES_MAX = 4096


def set_up(name: str, base: Path, mounts: dict[str, str]) -> None:
    socket.sethostname(name)
    _run("ip", "link", "set", "lo", "up")
    for subdirectory, mount_point in mounts.items():
        private = base / subdirectory
        private.mkdir(parents=True, exist_ok=True)
        os.makedirs(mount_point, exist_ok=True)
        if mount_point == "/run":
            _empty(private)  # as a reboot does
            (private / "lock").mkdir()  # libvirt locks consoles there
        _run("mount", "--bind", str(private), mount_point)
    # sysfs shows the network namespace of whoever mounted it.
    _run("mount", "-t", "sysfs", "sysfs", "/sys")


def start_libvirtd() -> None:
    """Returns when its sockets are there: the daemon's parent ends only then."""
    _run(*LIBVIRTD, timeout_s=LIBVIRTD_TIMEOUT_S)


def reap() -> None:
    """For ever. SIGTERM ends us, and so the kernel everything in the namespace."""
    awaited = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    while True:
        _reap_all()
        if signal.sigwait(awaited) == signal.SIGTERM:
            return


def _reap_all() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _run(*argv: str, timeout_s: int = 20) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(argv)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )


def main(argv: list[str]) -> int:
    name, base, ready_fd = argv[0], Path(argv[1]), int(argv[2])
    options = argv[3:]
    with socket.socket(fileno=ready_fd) as ready:
        ready.set_inheritable(False)
        try:
            set_up(name, base, dict(word.split("=", 1) for word in options if "=" in word))
            if "--libvirtd" in options:
                start_libvirtd()
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            ready.send(str(error).encode()[:MESSAGE_BYTES_MAX])
            return 1
        ready.send(b"ready")
    reap()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
