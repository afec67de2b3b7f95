"""Who is here: the sans-I/O membership core. Events in, effects out; no clock, socket, file or randomness
of its own.

Theory. Every node holds the full table, so no partial view can lose a part of the fabric for ever. It keeps
a small
**active view** (`links.py`): two ring neighbours by id, which connect the whole, and random ones up to
eight. News travels along these links as **state, not messages** (`broadcast.py`), on a tree that one member
shapes (`tree.py`, after Plumtree): a record
has one writer, its owner, and the highest (epoch, incarnation, version) wins wherever two meet, so no queue
can grow beyond the number of nodes, and a slow link just carries the newest. A hash over 256 buckets
(`digest.py`) rides on every beat; two nodes whose hashes stay unequal compare (`anti_entropy.py`).

A neighbour that falls silent is looked at (`looks.py`), by us and through others; if nobody reaches it, we
sign a vote and accuse it (`court.py`, after SWIM and Lifeguard). The five members nearest to it by XOR look
for themselves and vote. Three independent votes make a verdict, which proves itself to everybody by the
signatures it carries; one vote that reached it, or its own refutation with a higher incarnation, ends the
case. News reaches all in milliseconds, so the window for refuting need not grow with the number of nodes.
Three facts are kept apart: the process is gone (its machine refuses), the host is silent, the agent is
stuck (its machine accepts and it does not answer).

Liveness is only ever evidence about a moment: nothing here assigns anything, and nothing here reads a wall
clock.

Papers: SWIM (Das, Gupta, Motivala, 2002); Lifeguard (Dadgar, Phillips, Currey, 2017); HyParView and Plumtree
(Leitao, Pereira, Rodrigues, 2007). Figures and choices: design/gossip.md.
"""
