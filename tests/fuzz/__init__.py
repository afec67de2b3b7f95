"""Fuzzing: bytes from outside become a message or a WireError, within bounds, whatever they are.

`make fuzz` runs every target of `targets.py` under atheris (libFuzzer); `test_replay.py` runs seeds, old
crashers and some thousand mutants under plain pytest, without atheris.
"""
