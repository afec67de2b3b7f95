"""The local door: private, reachable at any path length, clear when nobody is home."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
from aiohttp import web

from fabric.errors import Outcome
from fabric.runtime.local_socket import (
    SOCKET_NAME,
    AgentNotRunningError,
    AgentRefusedError,
    AgentSilentError,
    LocalClient,
    bind,
)


async def serve(directory: Path) -> web.AppRunner:
    async def hello(_: web.Request) -> web.Response:
        return web.json_response({"hello": "you"})

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": "not on this node"}, status=409)

    app = web.Application()
    app.add_routes([web.get("/hello", hello), web.post("/refuse", refuse)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, bind(directory)).start()
    return runner


async def test_a_path_longer_than_the_kernel_allows(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    runner = await serve(deep)
    try:
        assert await asyncio.to_thread(LocalClient(deep).get, "/hello") == {"hello": "you"}
        mode = stat.S_IMODE((deep / SOCKET_NAME).stat().st_mode)
        assert mode == 0o600
    finally:
        await runner.cleanup()


async def test_the_socket_is_born_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        listener = bind(tmp_path)
        assert stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode) == 0o600
        assert os.umask(0) == 0  # left as it was: other threads make files meanwhile
    finally:
        os.umask(before)
    listener.close()


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    bind(tmp_path).close()
    runner = await serve(tmp_path)
    try:
        assert await asyncio.to_thread(LocalClient(tmp_path).get, "/hello") == {"hello": "you"}
    finally:
        await runner.cleanup()


async def test_a_refusal_carries_the_agents_words(tmp_path: Path) -> None:
    runner = await serve(tmp_path)
    try:
        with pytest.raises(AgentRefusedError, match="not on this node"):
            await asyncio.to_thread(LocalClient(tmp_path).post, "/refuse", {})
    finally:
        await runner.cleanup()


def test_nobody_home(tmp_path: Path) -> None:
    with pytest.raises(AgentNotRunningError, match="no agent answers"):
        LocalClient(tmp_path).get("/hello")
    bind(tmp_path).close()
    with pytest.raises(AgentNotRunningError, match="no agent answers"):
        LocalClient(tmp_path).get("/hello")


def test_an_agent_that_listens_and_says_nothing_is_given_up_soon_and_named(tmp_path: Path) -> None:
    listener = bind(tmp_path)  # and nobody accepts: as a stopped process does
    client = LocalClient(tmp_path, timeout_s=600.0, read_timeout_s=0.02)
    asks = [
        lambda: client.get("/hello"),
        lambda: client.text("/metrics"),
        lambda: next(client.lines("/events?follow=1")),
        lambda: client.post("/remove", {}),  # for which the agent may take long, were it there
    ]
    for ask in asks:
        with pytest.raises(AgentSilentError, match=rf"\(pid {os.getpid()}\) .* stopped or stuck") as caught:
            ask()
        assert (caught.value.pid, caught.value.outcome) == (os.getpid(), Outcome.NOT_DONE)
    listener.close()


def test_one_whose_queue_is_full_is_as_silent(tmp_path: Path) -> None:
    listener = bind(tmp_path)
    waiting = []
    while True:
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        waiting.append(one)
        try:
            one.connect(str(tmp_path / SOCKET_NAME))
        except BlockingIOError:
            break
    with pytest.raises(AgentSilentError, match="does not answer"):
        LocalClient(tmp_path, read_timeout_s=0.02).get("/hello")
    for one in [*waiting, listener]:
        one.close()


async def test_a_request_that_was_taken_and_not_answered_may_have_been_done(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def status(_: web.Request) -> web.Response:
        return web.json_response({})

    async def remove(_: web.Request) -> web.Response:
        await never.wait()
        return web.json_response({})

    app = web.Application()
    app.add_routes([web.get("/status", status), web.post("/remove", remove)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, bind(tmp_path)).start()
    try:
        with pytest.raises(AgentSilentError, match="may have taken the request") as caught:
            await asyncio.to_thread(LocalClient(tmp_path, timeout_s=0.02).post, "/remove", {})
        assert caught.value.outcome is Outcome.UNKNOWN
    finally:
        never.set()
        await runner.cleanup()
