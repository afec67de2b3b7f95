"""Makes the bed for a run, and unmakes it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bench._star import Star, why_no_star
from tests.chaos.bed import Bed
from tests.chaos.dev_bed import DevBed
from tests.chaos.faked_clock import library
from tests.chaos.star_bed import DATABASE, MACHINES, StarBed
from tests.fixtures import postgres_cluster

MACHINES_OWN, DEV = "machines", "dev"
TOOLS = ("mkfs.ext4", "mount", "unshare")


def why_no_machines() -> str:
    """Why no agent can have a machine of its own here; "" when each can."""
    reason = why_no_star()
    if reason:
        return reason
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if library() is None:
        missing.append("libfaketime")
    return f"not installed: {', '.join(missing)}" if missing else ""


@contextmanager
def made_bed(
    kind: str,
    engine: str,
    say: Callable[[str], None],
    *,
    keep: Path | None = None,
    has_own_clocks: bool = False,
    in_process: bool = False,
) -> Iterator[Bed]:
    """Up. `keep`: where its files stay afterwards; None: nowhere. Raises what its making raises."""
    folder = keep or Path(tempfile.mkdtemp(prefix="fab-chaos-"))
    os.chmod(folder, 0o711)
    with ExitStack() as stack:
        if keep is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        bed: Bed
        if kind == DEV:
            url = stack.enter_context(postgres_cluster.postgres_cluster()) if engine != "embedded" else ""
            bed = DevBed(folder / "fabric", say, state_url=url, in_process=in_process)
        else:
            star = stack.enter_context(closing(Star(MACHINES)))
            url = ""
            if engine != "embedded":
                place = postgres_cluster.Place(star.enter(DATABASE), star.address(DATABASE), "10.88.0.0/16")
                url = stack.enter_context(postgres_cluster.postgres_cluster(place=place))
            bed = StarBed(
                folder / "fabric",
                star,
                state_url=url,
                has_own_clocks=has_own_clocks,
                in_process=in_process,
            )
        stack.callback(bed.down)
        bed.up()
        yield bed
