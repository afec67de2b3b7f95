from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.membership.timers import Timers

KEYS = st.sampled_from("abcde")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.integers(0, 50)),
        st.tuples(st.just("earlier"), KEYS, st.integers(0, 50)),
        st.tuples(st.just("cancel"), KEYS, st.just(0)),
        st.tuples(st.just("pop"), KEYS, st.integers(0, 50)),
    )
)


@given(STEPS)
def test_like_a_dictionary_of_times(steps: list[tuple[str, str, int]]) -> None:
    timers, twin = Timers(), dict[str, int]()
    for verb, key, at in steps:
        if verb == "set":
            timers.set(key, at)
            twin[key] = at
        elif verb == "earlier":
            timers.set_earlier(key, at)
            twin[key] = min(at, twin.get(key, at))
        elif verb == "cancel":
            timers.cancel(key)
            twin.pop(key, None)
        else:
            popped = timers.pop(at)
            due = {k: t for k, t in twin.items() if t <= at}
            assert (popped is None) == (not due)
            if popped is not None:
                name, when = popped
                assert twin.pop(str(name)) == when == min(due.values())
        assert timers.next_ms == min(twin.values(), default=None)
        assert all((key in timers) == (key in twin) for key in "abcde")
