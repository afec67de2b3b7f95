"""How good are the tests? Bugs planted one at a time, each of which some test must kill.

`catalog.py` holds the bugs as exact replacements of source text, `trial.py` plants one in a private copy of
the tree and runs the few tests that should notice, `__main__.py` tells the score. Nothing is ever changed
in the tree itself. `tests/tidy/test_mutants.py` keeps the catalog applicable as the sources move.
"""
