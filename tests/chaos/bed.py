"""Where the agents of a run live, and what can be done to them there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from fabric.dev.cloud_client import CloudClient
from fabric.runtime.local_socket import LocalClient

LOCAL_TIMEOUT_S = 5.0
WORRY = re.compile(r'"level": "(WARNING|ERROR|CRITICAL)"|Error')
SLOW = "fabric.runtime.watchdog"  # says that the machine is busy, which is known
WORRIES_SHOWN = 12
LINE_SHOWN = 300


class Faults(Protocol):
    """What only a machine of one's own can suffer. Names are nodes' names."""

    def split(self, one: Iterable[str], other: Iterable[str]) -> None:
        """Nothing goes between the two groups any more; the clients reach both."""
        ...

    def deafen(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """One way: what `senders` send to `receivers` vanishes."""
        ...

    def unplug(self, names: Iterable[str]) -> None:
        """They reach nobody and nobody reaches them: not each other, not the clients, not a database."""
        ...

    def mend(self) -> None:
        """Every cut ends."""
        ...

    def set_clock(self, name: str, offset_s: int) -> None:
        """Its wall clock jumps to what it would be, and so much more. Monotonic time goes on."""
        ...

    def fill_disk(self, name: str) -> None:
        """Not one more byte fits. The agent there may end, and is started again and again, as by systemd."""
        ...

    def free_disk(self, name: str) -> None: ...

    def disk_may_end_nobody(self) -> None:
        """Whoever ends from here on has another reason than a disk that was full."""
        ...


class Bed(Protocol):
    """`up` before use, `down` after, whatever `up` raised."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def urls(self) -> Sequence[str]:
        """Of the nodes' APIs, in the order of the names."""
        ...

    @property
    def faults(self) -> Faults | None: ...

    def up(self) -> None: ...

    def down(self) -> None: ...

    def pid(self, name: str) -> int | None:
        """None: no agent runs there."""
        ...

    def state_dir(self, name: str) -> Path: ...

    def log(self, name: str) -> Path:
        """The file with all that its agents said."""
        ...

    def kill(self, names: Sequence[str], number: int) -> None:
        """A signal that ends; all are told before the first is waited for. They stay down until `start`."""
        ...

    def start(self, name: str) -> None:
        """Returns when its local socket answers."""
        ...

    def command(self, name: str, argv: Sequence[str]) -> str:
        """What `fabric ARGV...` about that node prints there, errors too. Raises CalledProcessError."""
        ...

    def ended(self) -> Sequence[str]:
        """Agents that ended by themselves where nobody made them, with their last words."""
        ...

    def password(self) -> str: ...


def local(bed: Bed, name: str) -> LocalClient:
    return LocalClient(bed.state_dir(name), read_timeout_s=LOCAL_TIMEOUT_S)


def running(bed: Bed) -> list[str]:
    return [name for name in bed.names if bed.pid(name) is not None]


def cloud_at(bed: Bed, name: str) -> CloudClient:
    """Logged in there. Raises OSError, FabricError."""
    client = CloudClient(bed.urls[list(bed.names).index(name)])
    client.login("admin", bed.password(), "admin")
    return client


def worries(bed: Bed, name: str) -> list[str]:
    """The last of what its agents said that was no mere story."""
    lines = bed.log(name).read_text(errors="replace").splitlines()
    worried = [line for line in lines if WORRY.search(line) and SLOW not in line]
    return [f"{name}: {line[:LINE_SHOWN]}" for line in worried[-WORRIES_SHOWN:]]


def any_cloud(bed: Bed) -> CloudClient:
    """At the first that answers. Raises what the last one raised."""
    last: Exception = OSError("no agent runs")
    for name in running(bed):
        try:
            return cloud_at(bed, name)
        except Exception as error:
            last = error
    raise last
