"""Can this machine run guests by KVM? Asked by running one, never by looking at the device node."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

PROBE_TIMEOUT_S = 10.0  # hardware answers in 0.1 s, nearly all of it Python's own start
_PROBE = Path(__file__).with_name("kvm_probe.py")


@dataclass(frozen=True, slots=True)
class KvmVerdict:
    works: bool
    why: str  # for people: fabric capacity, logs


async def probe_kvm(device: str = "/dev/kvm", *, timeout_s: float = PROBE_TIMEOUT_S) -> KvmVerdict:
    """Tries `device` in a process of its own. Never raises for a machine without KVM; takes at most
    `timeout_s` and a moment."""
    if not os.path.exists(device):
        return KvmVerdict(False, f"no {device}")
    if not os.access(device, os.R_OK | os.W_OK):
        return KvmVerdict(False, f"{device} exists but may not be opened by uid {os.geteuid()}")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(_PROBE),
        device,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError:
        return KvmVerdict(False, f"{device} exists, but a test program did not end within {timeout_s:.0f} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = output.decode(errors="replace").strip()[:200]
    if process.returncode == 0 and said == "ok":
        return KvmVerdict(True, f"{device} ran a test program")
    return KvmVerdict(False, f"{device} exists but cannot run guests: {said or 'the probe crashed'}")
