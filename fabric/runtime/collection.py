"""When Python looks for circles of objects that nobody holds any more; everybody waits meanwhile.

A look at all objects takes 0.2 us each, 30 to 60 ms in an agent that knows 10,000 hosts. Of itself Python
begins one when a quarter more objects have come to stay, which is what reading all hosts does: then, of all
times, when servers wait for their place.

So what a start leaves, modules and classes above all, is set aside for good. The young are looked at as ever,
in looks of a millisecond; all of the rest seldom. What is let go of without a circle, and that is nearly all,
goes at once and waits for none of this.
"""

from __future__ import annotations

import gc

MIDDLE_LOOKS = 300  # with Python's other limits 2.3 million objects; if all were circles, 230 MB would wait


def settle() -> None:
    """Once, when a process has started. Takes as long as one look at all."""
    gc.collect()
    gc.freeze()
    young, young_looks, _ = gc.get_threshold()
    gc.set_threshold(young, young_looks, MIDDLE_LOOKS)
