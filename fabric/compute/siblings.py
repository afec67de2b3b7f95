"""Which processors to take of those that are free, with regard to cores that have several threads. Pure.

Source: Nova's `hw:cpu_thread_policy`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

Core = Sequence[int]  # its threads

REQUIRE, ISOLATE = "require", "isolate"


def choose_threads(
    free: Collection[int], cores: Sequence[Core], count: int, policy: str = "prefer"
) -> tuple[int, ...] | None:
    """`count` of those that are `free`, siblings one after the other. None: there are not so many.

    `prefer`: whole cores, as far as there are some, and then what others left of theirs. `require`: of cores
    that have at least two threads free. `isolate`: one of each core of which nobody has a thread. `cores`:
    those that are not in any have no siblings."""
    known = {cpu for core in cores for cpu in core}
    everything = [tuple(sorted(core)) for core in cores] + [
        (cpu,) for cpu in sorted(free) if cpu not in known
    ]
    everything.sort()
    left = [(core, tuple(cpu for cpu in core if cpu in free)) for core in everything]
    whole = [rest for core, rest in left if rest == core]
    parts = [rest for core, rest in left if rest and rest != core]
    if policy == ISOLATE:
        chosen = [core[0] for core in whole]
    elif policy == REQUIRE:
        chosen = list(
            _taken([core for core in whole if len(core) > 1], [p for p in parts if len(p) > 1], count)
        )
    else:
        chosen = list(_taken(whole, parts, count))
    return tuple(chosen[:count]) if len(chosen) >= count else None


def _taken(whole: Sequence[Core], parts: Sequence[Core], count: int) -> Iterator[int]:
    """At least `count`, if there are so many: cores that are needed whole, smallest parts, other cores."""
    taken, unused = 0, []
    for core in whole:
        if taken + len(core) <= count:
            taken += len(core)
            yield from core
        else:
            unused.append(core)
    for part in sorted(parts, key=len):
        yield from part
    for core in unused:
        yield from core
