"""Real agents, real clients of the public API, and somebody who does harm: nothing may be lost.

python -m tests.chaos [--nemesis kill,pause,...] [--rounds 50] [--engine embedded,postgresql] [--seed 7]

As root each agent is on a machine of its own (`star_bed.py`: a network namespace, a disk, a clock); else,
or with `--bed dev`, all are on loopback as `fabric dev up` makes them, and can be killed, stopped and told
to hand over.
"""
