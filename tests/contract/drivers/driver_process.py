"""A driver in a process of its own, for tests to kill: `driver_process SPEC_FILE KIND DIRECTORY [URI]`.

Prints "done PID" after ensure_running, then waits to be killed. The simulated driver takes a while to build,
so that there is a middle to be killed in.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path

from drivers.contract import ComputeDriver, DomainSpec

SIM_BUILD_MS = 400


def make_driver(kind: str, directory: Path, uri: str) -> ComputeDriver:
    if kind == "sim":
        from drivers.sim import SimDriver

        return SimDriver(directory, build_ms=SIM_BUILD_MS)
    from drivers.libvirt.driver import LibvirtDriver

    return LibvirtDriver(uri, directory, force_emulation=True)


async def main(argv: list[str]) -> None:
    spec: DomainSpec = pickle.loads(Path(argv[0]).read_bytes())
    driver = make_driver(argv[1], Path(argv[2]), argv[3] if len(argv) > 3 else "")
    await driver.open()
    print("open", flush=True)
    state = await driver.ensure_running(spec)
    print(f"done {state.pid}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
