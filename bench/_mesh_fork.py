"""Starts many mesh agents quickly: imports everything once, then forks a child for each order.

    python -m bench._mesh_fork       with a Unix socket to the benchmark as standard input

A message is one order: the JSON of its arguments, with the agent's channel and its network namespace as
descriptors beside it. The answer is the child's pid. Children die with this process, and it with its parent.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path

from bench import _mesh_agent

ORDER_BYTES_MAX = 1 << 16
CLONE_NEWNET = 0x4000_0000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def serve(orders: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the benchmark knows whom it killed
    gc.collect()
    gc.freeze()  # what is imported stays shared
    while True:
        data, descriptors, _, _ = socket.recv_fds(orders, ORDER_BYTES_MAX, 2)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            orders.close()
            _be_agent(json.loads(data), *descriptors)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
        orders.sendall(f"{pid}\n".encode())


def _be_agent(order: dict[str, object], channel: int, namespace: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()  # the kernel shares the processors among sessions: each agent is one, as when started alone
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(namespace)
    settings = order["settings"]
    assert isinstance(settings, dict)
    with socket.socket(fileno=channel) as end:
        _mesh_agent.run(Path(str(order["directory"])), str(order["address"]), settings, end)


if __name__ == "__main__":
    try:
        serve(socket.socket(fileno=0))
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
