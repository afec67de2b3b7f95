"""How fast a port may be, in the terms of HTB: two token buckets that must both have something. Pure.

Source: tc-htb(8), and what libvirt makes of `<bandwidth>`. As there, the average is the class's rate and the
peak its ceiling; a burst without a peak goes as fast as the link can.
"""

from __future__ import annotations

from dataclasses import dataclass

from netplug.contract import RatePlan

RATE_BYTES = 1_000  # of a "kbps" of tc
BURST_BYTES = 1_024  # of its "kb"
RATE_MAX_KB_S = 4_000_000  # rates are 32 bits of bytes a second
BURST_MAX_S = 250  # at the average rate: times are 32 bits of 64 ns
LEAST_S_PART = 100  # a burst of a hundredth of a second lets a busy host keep the rate
LEAST_FRAMES = 2
_ETHERNET_BYTES = 18  # header and VLAN tag, which the MTU does not count


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Bytes, and bytes a second."""

    rate: int
    burst: int
    ceil: int
    ceil_burst: int


def buckets(plan: RatePlan, mtu: int) -> Buckets:
    rate = plan.average_kb_s * RATE_BYTES
    ceil = max(plan.peak_kb_s * RATE_BYTES, rate)
    burst = min(max(plan.burst_kb * BURST_BYTES, _least(rate, mtu)), rate * BURST_MAX_S)
    return Buckets(
        rate=rate,
        burst=burst,
        ceil=ceil,
        ceil_burst=_least(ceil, mtu) if plan.peak_kb_s else burst,
    )


def check_rate(plan: RatePlan) -> None:
    """Raises ValueError."""
    if not 1 <= plan.average_kb_s <= RATE_MAX_KB_S or not 0 <= plan.peak_kb_s <= RATE_MAX_KB_S:
        raise ValueError(f"a rate must be within 1 and {RATE_MAX_KB_S} kilobytes a second")
    if plan.burst_kb < 0 or 0 < plan.peak_kb_s < plan.average_kb_s:
        raise ValueError("a burst must not be negative, and a peak not below its average")


def _least(rate: int, mtu: int) -> int:
    return max(rate // LEAST_S_PART, LEAST_FRAMES * (mtu + _ETHERNET_BYTES))
