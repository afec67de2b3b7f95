"""The last step into a simulated host: forks, tells the outer pid, becomes the wanted program.

Run by path through nsenter (`hosts.py` does), standard library only:

    hosts_enter.py READY_FD DIRECTORY PROGRAM [ARGUMENT ...]

nsenter's own child has its parent outside the PID namespace; were it to stay, the host's process 1 could not
reap it. So it forks once more and ends: the grandchild is adopted by process 1 and outlives our caller.
Whoever listens on READY_FD learns its outer pid from the kernel (SCM_CREDENTIALS), then reads the end of
file when the program runs, or why it does not.
"""

from __future__ import annotations

import os
import socket
import sys


def main(argv: list[str]) -> int:
    ready = socket.socket(fileno=int(argv[0]))
    directory, program = argv[1], argv[2:]
    if os.fork() != 0:
        ready.detach()
        return 0
    ready.set_inheritable(False)
    os.setsid()
    ready.send(b"ready")
    try:
        os.chdir(directory)
        os.execvp(program[0], program)  # noqa: S606 - no shell is the point
    except OSError as error:
        ready.send(f"{program[0]}: {error.strerror}".encode())
    os._exit(127)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
