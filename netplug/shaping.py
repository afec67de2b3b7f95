"""Ports slowed down, in the kernel. `netplug.linux` has the netlink socket, and calls.

Into the guest: HTB at the tap, for what the host sends there. From the guest: HTB too. Policing would drop
at once what is too fast, and TCP would stay far below its limit; but only what a link sends can be queued,
so what comes from the tap is sent through an `ifb` first, one for each tap. The filter that does so is u32,
which every kernel with traffic control has.

What is ours: the ifbs, by their alias; queues of our handle; filters of our priority. A tap takes its queues
and filters with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netplug.contract import RatePlan
from netplug.rates import Buckets, buckets

QUEUE = 0xFAB0_0000  # our handle: "fab0:"
CLASS = QUEUE | 1
ROOT, INGRESS = 0xFFFF_FFFF, 0xFFFF_0000
INGRESS_PARENT = 0xFFFF_FFF1
PRIORITY = 0xFAB0
ALL_PROTOCOLS = 3  # ETH_P_ALL
EVERY_FRAME = ("0x0/0x0+0",)
QUEUE_FRAMES = 1_000  # of an ifb, which has 32 by itself: too few for TCP
TICK_NS = 64  # in which the kernel gives times (PSCHED_SHIFT)
QUANTUM = 60_000  # in which classes take turns; ours has no other, but the kernel warns of its own guess


@dataclass(frozen=True, slots=True)
class Shaped:
    """What a link is held to, as the kernel tells it."""

    rate: int
    ceil: int
    burst_us: int
    ceil_burst_us: int


class Shaping:
    """Raises whatever the netlink socket raises. `count`: is told of each change."""

    def __init__(self, netlink: Any, count: Callable[[], None]) -> None:
        self._netlink = netlink
        self._count = count

    def ensure_rate(self, index: int, plan: RatePlan, mtu: int) -> None:
        wanted = buckets(plan, mtu)
        found = self._rate_of(index)
        if found == _told(wanted):
            return
        if found is not None or self._root_kind(index) not in ("", "noqueue"):
            self._drop_root(index)
        self._count()
        self._netlink.tc("add", "htb", index, handle=QUEUE, default=CLASS & 0xFFFF)
        self._netlink.tc(
            "add-class", "htb", index, handle=CLASS, parent=QUEUE,
            rate=wanted.rate, burst=wanted.burst, ceil=wanted.ceil, cburst=wanted.ceil_burst, mtu=mtu,
            quantum=QUANTUM,
        )  # fmt: skip

    def remove_rate(self, index: int) -> None:
        """Another's queue stays."""
        if self._has_queue(index):
            self._drop_root(index)

    def ensure_redirect(self, index: int, through: int) -> None:
        found = self._redirects(index)
        if found == [through]:
            return
        if found is not None:
            self.remove_redirect(index)
        self._count()
        self._netlink.tc("add", "ingress", index)
        action = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": through}
        self._netlink.tc(
            "add-filter", "u32", index, parent=INGRESS, prio=PRIORITY, protocol=ALL_PROTOCOLS,
            keys=list(EVERY_FRAME), target=0, action=action,
        )  # fmt: skip

    def remove_redirect(self, index: int) -> None:
        if self._redirects(index) is not None:
            self._count()
            self._netlink.tc("del", "ingress", index)

    def _rate_of(self, index: int) -> Shaped | None:
        """None: it has no such queue of ours, or not with one class."""
        if not self._has_queue(index):
            return None
        classes = [entry for entry in self._netlink.get_classes(index) if entry["handle"] == CLASS]
        if len(classes) != 1:
            return Shaped(0, 0, 0, 0)
        told = classes[0].get_attr("TCA_OPTIONS").get_attr("TCA_HTB_PARMS")
        return Shaped(told["rate"], told["ceil"], _us(told["buffer"]), _us(told["cbuffer"]))

    def _queues(self, index: int) -> list[Any]:
        return [entry for entry in self._netlink.get_qdiscs(index) if entry["index"] == index]

    def _has_queue(self, index: int) -> bool:
        return any(entry["handle"] == QUEUE for entry in self._queues(index))

    def _root_kind(self, index: int) -> str:
        roots = [entry for entry in self._queues(index) if entry["parent"] == ROOT and entry["handle"]]
        return str(roots[0].get_attr("TCA_KIND")) if roots else ""

    def _drop_root(self, index: int) -> None:
        self._count()
        self._netlink.tc("del", index=index, parent=ROOT)

    def _redirects(self, index: int) -> list[int] | None:
        """Where frames from the link go first; -1 for what is no such filter of ours. None: it has no place
        for filters at all."""
        if not any(entry["parent"] == INGRESS_PARENT for entry in self._queues(index)):
            return None
        found = []
        for entry in self._netlink.get_filters(index, parent=INGRESS):
            options = entry.get_attr("TCA_OPTIONS")
            kind = entry.get_attr("TCA_KIND")
            if options is None or (kind == "u32" and options.get_attr("TCA_U32_SEL") is None):
                continue  # the place for filters of that priority, and no filter
            is_ours = kind == "u32" and entry["info"] >> 16 == PRIORITY
            found.append(_redirect_of(options.get_attr("TCA_U32_ACT")) if is_ours else -1)
        return found


def _redirect_of(action: Any) -> int:
    first = action.get_attr("TCA_ACT_PRIO_1") if action is not None else None
    if first is None or first.get_attr("TCA_ACT_KIND") != "mirred":
        return -1
    return int(first.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")["ifindex"])


def _told(wanted: Buckets) -> Shaped:
    burst_us, ceil_us = (
        1_000_000 * wanted.burst // wanted.rate,
        1_000_000 * wanted.ceil_burst // wanted.ceil,
    )
    return Shaped(wanted.rate, wanted.ceil, burst_us, ceil_us)


def _us(ticks: int) -> int:
    """They are whole microseconds, in which netlink's other end is told, rounded down to ticks."""
    return -(-ticks * TICK_NS // 1_000)
