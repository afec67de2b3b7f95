"""What crosses a wire or enters the log. Imports nothing of ours; everyone may import it.

`SPEC.md` beside this file is the normative text; a change here changes it in the same commit.
"""
