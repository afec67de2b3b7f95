"""Starts a voter's process, and sees that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from asyncio.subprocess import DEVNULL, Process

log = logging.getLogger(__name__)

END_S = 10.0  # to end by itself when its channel is closed; killing it loses nothing
PROGRAM = ("-m", "fabric.cli.main", "voter-process")


class VoterChild:
    """What it says goes where this process's own words go. Its secrets come over the channel: a command line
    is public."""

    def __init__(self) -> None:
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """This end of its channel. From the thread that lives as long as this process: the child ends with
        the thread that started it. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *PROGRAM,
                    "--fd",
                    str(theirs.fileno()),
                    stdin=DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            except BaseException:
                ours.close()
                raise
        return await asyncio.open_connection(sock=ours)

    async def end(self) -> None:
        """Its channel is closed, so it ends by itself; else it is killed. Twice is the same as once."""
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            log.error("voter's process does not end, killed", extra={"pid": process.pid})
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
