"""A network plug without a network, for the sim driver. It documents the semantics: the same pure plan, the
same refusals, the same leftovers as the Linux plug, but the host it changes is one JSON file. As a kernel
would, the file outlives the agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from netplug.contract import HostPlan, Leftovers, PluggedPort, PortsRefusedError, shaper_name
from netplug.desired import DesiredState, HostFacts, Tap, UplinkFact
from netplug.plan import desired_state
from netplug.system import read_file, write_file
from proto.errors import NetPlugError
from proto.ids import PortId

UPLINK_MTU = 9_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeHost:
    """What the file says. Uplinks: device to the bridge that holds it."""

    bridges: tuple[str, ...] = ()
    taps: tuple[str, ...] = ()
    rates: tuple[tuple[str, str], ...] = ()  # (tap, what it is held to)
    cut_off: tuple[str, ...] = ()  # taps of refused ports, in no bridge
    uplinks: tuple[tuple[str, str], ...] = ()
    nft_rules: int = 0


class FakeNetPlug:
    """`uplinks` as for the Linux plug; None: this host has an uplink for whatever is asked."""

    def __init__(self, directory: Path, *, uplinks: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._file = directory / "fake_network.json"
        self._uplinks = None if uplinks is None else dict(uplinks)
        self._lock = asyncio.Lock()
        self._is_open = False
        self.writes = 0  # how often the file was changed

    async def open(self) -> None:
        await asyncio.to_thread(self._directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def apply(self, plan: HostPlan) -> tuple[PluggedPort, ...]:
        if not self._is_open:
            raise NetPlugError("the network plug is not open")
        async with self._lock:
            try:
                state = await asyncio.to_thread(self._apply, plan)
            except OSError as error:
                raise NetPlugError(f"cannot keep the fake host: {error}") from error
        if state.refused:
            raise PortsRefusedError(state.refused, state.plugged)
        return state.plugged

    async def leftovers(self) -> Leftovers:
        if not self._is_open:
            raise NetPlugError("the network plug is not open")
        host = await asyncio.to_thread(self._read)
        return Leftovers(
            bridges=host.bridges,
            taps=tuple(sorted({*host.taps, *host.cut_off})),
            shapers=tuple(shaper_name(PortId(tap[3:])) for tap, text in host.rates if "out " in text),
            nft_rules=host.nft_rules,
            files=() if host == FakeHost() else (str(self._file),),
        )

    def _apply(self, plan: HostPlan) -> DesiredState:
        before = self._read()
        state = desired_state(plan, self._facts(plan, before))
        existing = {*before.taps, *before.cut_off}
        after = FakeHost(
            bridges=tuple(sorted(bridge.name for bridge in state.bridges)),
            taps=tuple(tap.name for tap in state.taps),
            rates=tuple((tap.name, _rates(tap)) for tap in state.taps if tap.inbound or tap.outbound),
            cut_off=tuple(sorted(state.cut_off & existing)),
            uplinks=tuple(sorted((bridge.uplink, bridge.name) for bridge in state.bridges if bridge.uplink)),
            nft_rules=sum(_is_rule(line) for line in state.ruleset.splitlines()),
        )
        if after != before:
            self.writes += 1
            self._write(after)
        return state

    def _facts(self, plan: HostPlan, host: FakeHost) -> HostFacts:
        uplinks = self._uplinks
        if uplinks is None:
            names = {network.physical_network for network in plan.networks}
            uplinks = {name: f"up-{name}" for name in names if name is not None}
        holders = dict(host.uplinks)
        return HostFacts(
            uplinks=tuple(
                UplinkFact(physical_network=name, device=dev, mtu=UPLINK_MTU, holder=holders.get(dev))
                for name, dev in sorted(uplinks.items())
            ),
            bridges_present=frozenset(host.bridges),
        )

    def _read(self) -> FakeHost:
        text = read_file(self._file)
        if text is None:
            return FakeHost()
        try:
            fields = json.loads(text)
            return FakeHost(
                bridges=tuple(fields["bridges"]),
                taps=tuple(fields["taps"]),
                rates=tuple((tap, text) for tap, text in fields.get("rates", ())),
                cut_off=tuple(fields["cut_off"]),
                uplinks=tuple((device, bridge) for device, bridge in fields["uplinks"]),
                nft_rules=int(fields["nft_rules"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise NetPlugError(f"{self._file.name} is damaged") from error

    def _write(self, host: FakeHost) -> None:
        if host == FakeHost():
            self._file.unlink(missing_ok=True)
            return
        fields = {
            "bridges": host.bridges,
            "taps": host.taps,
            "rates": host.rates,
            "cut_off": host.cut_off,
            "uplinks": host.uplinks,
            "nft_rules": host.nft_rules,
        }
        write_file(self._file, json.dumps(fields, indent=1) + "\n")


def _rates(tap: Tap) -> str:
    words = [
        f"{way} {rate.average_kb_s} peak {rate.peak_kb_s} burst {rate.burst_kb}"
        for way, rate in (("in", tap.inbound), ("out", tap.outbound))
        if rate is not None
    ]
    return ", ".join(words)


def _is_rule(line: str) -> bool:
    """Lines of a chain's body are indented twice; what ends in a comma is an element of a set."""
    text = line.strip()
    head = text.split(" ")[0]
    return line.startswith("    ") and not text.endswith(("{", "}", ",")) and head not in ("type", "elements")
