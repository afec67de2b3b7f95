"""Regular expressions from users: Nova's `name` and `ip` filters take them.

Python's matcher backtracks, so one pattern can hold a thread for hours. Only patterns whose worst case
is cheap on short strings are let through; the refusal says why.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from fabric.control.errors import InvalidError

PATTERN_CHARS_MAX = 255
_OPEN_REPEATS_MAX = 2  # "^web-.*\d+$" has two; k of them cost up to len(name)^(k+1) steps
_REPEAT_COUNT_MAX = 255


def checked_pattern(field: str, pattern: str) -> str:
    """`pattern` itself. Raises InvalidError naming `field` when it is malformed or could be too slow."""
    if len(pattern) > PATTERN_CHARS_MAX:
        raise InvalidError(f"Invalid filter {field}: at most {PATTERN_CHARS_MAX} characters are allowed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
            tree = re._parser.parse(pattern)  # type: ignore[attr-defined]
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidError(f"Invalid filter {field}: not a regular expression.") from error
    if _open_repeats(tree, inside=False) > _OPEN_REPEATS_MAX:
        raise InvalidError(f"Invalid filter {field}: the regular expression is too complex.")
    return pattern


def _open_repeats(tree: Any, *, inside: bool) -> int:
    """How many unbounded repeats the parsed pattern holds; one inside another counts as too many."""
    count = 0
    for operation, argument in tree:
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _low, high, body = argument
            if high == 1:
                count += _open_repeats(body, inside=inside)
                continue
            if inside or _low > _REPEAT_COUNT_MAX:
                return _OPEN_REPEATS_MAX + 1
            count += 1 + _open_repeats(body, inside=True)
        elif name == "SUBPATTERN":
            count += _open_repeats(argument[-1], inside=inside)
        elif name == "BRANCH":
            if inside:
                return _OPEN_REPEATS_MAX + 1
            count += sum(_open_repeats(branch, inside=inside) for branch in argument[1])
        elif name in ("GROUPREF", "GROUPREF_EXISTS", "ASSERT", "ASSERT_NOT", "ATOMIC_GROUP"):
            return _OPEN_REPEATS_MAX + 1
    return count
