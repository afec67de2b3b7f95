"""One run: a fabric, clients, and rounds of kills. The fabric is taken down whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from fabric.dev.up import PASSWORD_FILE, DevFabric, DevOptions
from tests.chaos.clients import Client, Told
from tests.chaos.nemesis import Nemesis
from tests.chaos.verdict import Outcome, judge

CLIENTS = 8
NAMES = 40
DOWN_S = 6.0  # the killed stay so long


def run(
    directory: Path,
    *,
    nodes: int,
    rounds: int,
    every_s: float,
    rate: float,
    seed: int,
    say: Callable[[str], None],
    keep: bool = False,
) -> Outcome:
    """Each round kills as many voters at once as may fail. Raises what setting up raises, TimeoutError."""
    voters = 5 if nodes >= 5 else 3 if nodes >= 3 else 1
    fabric = DevFabric(directory, say)
    try:
        layout = fabric.up(DevOptions(directory=directory, nodes=nodes, driver="sim"))
        nemesis = Nemesis(fabric, Random(seed), say)  # whom to kill, not a secret
        nemesis.wait_for_voters(voters)
        told, stop = Told(), threading.Event()
        password = (directory / PASSWORD_FILE).read_text()
        clients = [
            Client(number, layout.api_urls, password, told, stop, names=NAMES, rate=rate / CLIENTS)
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            for number in range(rounds):
                _round(nemesis, voters, every_s, number, say)
        finally:
            stop.set()
            for client in clients:
                client.join()
        return judge(told, fabric.cloud(fabric.layout()))
    finally:
        if not keep:
            fabric.down()


def _round(nemesis: Nemesis, voters: int, every_s: float, number: int, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    victims = nemesis.kill((voters - 1) // 2)
    time.sleep(DOWN_S)
    nemesis.revive(victims)
    nemesis.wait_for_voters(voters)
    say(f"round {number + 1}: all are back after {time.monotonic() - began:.1f} s")
    time.sleep(max(0.0, began + every_s - time.monotonic()))
