"""One agent of many on a machine that cannot carry so many at their usual pace: `fabric agent` as it is, with
slower gossip where they are more than AGENTS_AT_FULL_PACE.

    python -m bench._scale_agent CONFIG PACE

An idle agent takes half to one per cent of a core, and each load that another tells 0.04 ms: 500 that tell
theirs once a second would want more than ten cores. PACE is by how much all intervals and patience of the
gossip are longer than in a real fabric; loads are fewer by its square, for there are more to tell them to.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import fabric.agent
from fabric import config as configuration
from fabric.cli.join import join
from fabric.core.membership.config import MembershipConfig
from fabric.runtime import logs

AGENTS_AT_FULL_PACE = 20  # 40 have a third of two cores, idle
PR_SET_PDEATHSIG = 1
NICENESS = 10  # of those that only host: a machine of its own would not be kept waiting by 500 idle ones
SLOWED = (
    "beat_interval_ms",
    "silence_ms",
    "look_timeout_ms",
    "suspicion_refused_ms",
    "suspicion_silent_ms",
    "stranger_interval_ms",
    "load_interval_ms",
    "load_batch_ms",
)


def pace_of(agents: int) -> float:
    """1: as in a real fabric."""
    return max(1.0, agents / AGENTS_AT_FULL_PACE)


def settings_of(pace: float) -> dict[str, int]:
    """What differs from `MembershipConfig()`: nothing at pace 1."""
    usual = MembershipConfig()
    slowed = {name: round(getattr(usual, name) * pace) for name in SLOWED}
    return slowed | {"fabric_loads_per_s": max(1, round(usual.fabric_loads_per_s / pace**2))}


def run(config: Path, pace: float) -> None:
    """Until it is told to stop."""
    if pace > 1:
        vars(fabric.agent)["MembershipConfig"] = partial(MembershipConfig, **settings_of(pace))
    loaded = configuration.load(config)
    logs.configure(loaded.config.log.level, loaded.config.log.format)
    asyncio.run(fabric.agent.run_agent(loaded.config, config_dir=config.parent))


def fork_agent(config: Path, pace: float, log: Path) -> int:
    """Its pid. What is imported is shared by all; it dies with this process, and gives way to those that
    are not forked."""

    def work() -> None:
        os.nice(NICENESS)
        with suppress(OSError):  # where the kernel shares the processors among sessions, theirs counts
            Path("/proc/self/autogroup").write_text(str(NICENESS))
        run(config, pace)

    return _fork(work, log)


def fork_join(config: Path, token: str, log: Path) -> int:
    """`fabric join`, in a process of its own."""
    return _fork(partial(join.main, [token, "--config", str(config)], standalone_mode=False), log)


def _fork(work: Callable[[], object], log: Path) -> int:
    import_module(
        "fabric.agent_control"
    )  # once for all; an agent that is not forked reads it when it has time
    gc.freeze()  # what is imported stays shared
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()  # the kernel shares the processors among sessions: an agent is one, as when started alone
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for there, here in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(there, here)
        if os.getppid() == parent:
            work()
            code = 0
    except BaseException as error:  # the end of a child: whatever it was, its log and status say it
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    run(Path(sys.argv[1]), float(sys.argv[2]))
