"""Real agents, real clients of the public API, and somebody who kills agents: nothing may be lost.

python -m tests.chaos --nodes 5 --rounds 50 [--directory DIR]
"""
