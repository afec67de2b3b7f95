"""Bugs of what hosts say of themselves for the scheduler, and of what is made of it."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

CHOICE = "tests/unit/core/placement/test_choose.py"
WORD = "tests/unit/core/placement/test_host_word.py"
SCHEDULER = "tests/unit/runtime/test_scheduler_loop.py"
HOST = "tests/unit/compute/test_reconcile.py"
PRECACHE = "tests/unit/compute/test_precache.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


FACTS_BUGS = (
    bug(
        "weights of room are stretched from the least of the hosts",
        L,
        "core/placement/weigh.py",
        "        if least is not None:\n",
        "        if False:\n",
        CHOICE,
    ),
    bug(
        "weights that are stretched together all begin at 0",
        L,
        "core/placement/weigh.py",
        "            np.subtract(rows[row], low, out=rows[row])\n",
        "            pass\n",
        "tests/property/test_weigh.py",
    ),
    bug(
        "a server without a disk is kept off hosts that gave away too much of it",
        L,
        "core/placement/filters/resource.py",
        "np.array(amount if amount > 0 else floor, ",
        "np.array(amount, ",
        "tests/unit/core/placement/test_filters.py",
    ),
    bug(
        "a new scheduler does not hear that a host fails its builds",
        L,
        "runtime/host_view.py",
        "max(failures, word.failed_builds)",
        "failures",
        SCHEDULER,
    ),
    bug(
        "who schedules forgets the failures that a host has not said yet",
        L,
        "runtime/host_view.py",
        "build_failures=max(failures, word.failed_builds)",
        "build_failures=word.failed_builds",
        SCHEDULER,
    ),
    bug(
        "a host's failed builds are not its word",
        L,
        "compute/reconcile.py",
        "                self._builds.failed(self._clock.monotonic_ms())\n",
        "",
        HOST,
    ),
    bug(
        "failures of long ago count for ever",
        L,
        "runtime/build_failures.py",
        "0 if now_ms - self._failed_ms > REMEMBERED_MS else self._count",
        "self._count",
        "tests/unit/runtime/test_build_failures.py",
    ),
    bug(
        "what a host once said beside its numbers is never taken back",
        L,
        "core/membership/own_load.py",
        "extra=self._now.extra if extra is None else dict(extra)",
        "extra=extra or self._now.extra",
        "tests/unit/core/membership/test_own_load.py",
    ),
    bug(
        "an image is found across the border of two others",
        L,
        "core/placement/host_word.py",
        "    while at >= 0 and at % ADDRESS_BYTES:\n",
        "    while False:\n",
        WORD,
    ),
    bug(
        "an image in a cache counts for nothing",
        L,
        "core/placement/weighers/image_locality.py",
        " or is_among(facts.cached, short)",
        "",
        CHOICE,
    ),
    bug(
        "a pruned image is said to be there",
        L,
        "compute/image_cache.py",
        "            self._held.pop(name, None)\n",
        "            pass\n",
        "tests/unit/compute/test_host_parts.py",
    ),
    bug(
        "every wobble of a processor goes to every node",
        L,
        "compute/cpu_monitor.py",
        "abs(value - self._metrics.get(name, -STEP)) >= STEP",
        "True",
        "tests/unit/compute/test_cpu_monitor.py",
    ),
    bug(
        "a host that does not say a required metric takes servers",
        L,
        "core/placement/filters/metrics.py",
        " if settings.metrics_required else ()",
        " if not settings.metrics_required else ()",
        CHOICE,
    ),
    bug(
        "any member has images fetched by hosts",
        S,
        "compute/host_side.py",
        '        self._need_leave(sender)\n        named = body.get("images")\n',
        '        named = body.get("images")\n',
        PRECACHE,
    ),
    bug(
        "one image that cannot be had ends the caching of others",
        L,
        "compute/precache.py",
        "        except ImageError as error:\n",
        "        except MemoryError as error:\n",
        PRECACHE,
    ),
)
