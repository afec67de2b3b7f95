"""The small language of extra specs: `s== x`, `>= 4`, `<in> sse`, `<all-in> a b`, `<or> a <or> b`,
`<range-in> [ 1 5 ]`. Source: Nova's extra specs reference and oslo.utils `specs_matcher`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import lru_cache

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,  # not a slip: "equal to or greater than" is what Nova means by it
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_WORDS: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}


@lru_cache(maxsize=1_024)  # many hosts say the same
def matches(value: str, wanted: str) -> bool:
    """Whether `value`, what a host has, is what the extra spec `wanted` says."""
    words = wanted.split()
    if not words:
        return value == wanted
    verb, rest = words[0], words[1:]
    if verb in _NUMBERS:
        number, bound = _number(value), _number(" ".join(rest))
        return number is not None and bound is not None and _NUMBERS[verb](number, bound)
    if verb in _WORDS:
        return _WORDS[verb](value, " ".join(rest))
    if verb == "<in>":
        return bool(rest) and " ".join(rest) in value
    if verb == "<all-in>":
        held = _listed(value)
        return bool(rest) and all(word in held for word in rest)
    if verb == "<or>":
        return value in (part.strip() for part in wanted.split("<or>")[1:])
    if verb == "<range-in>":
        return _is_in_range(value, rest)
    return value == wanted


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _listed(value: str) -> list[str] | str:
    """A list that was written as text, or the text itself: membership is then of a part."""
    if value[:1] in "[({":
        try:
            parsed = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
        if isinstance(parsed, list | tuple | set):
            return [str(each) for each in parsed]
    return value


def _is_in_range(value: str, words: list[str]) -> bool:
    """`[` and `]` include the bound, `(` and `)` do not."""
    if len(words) != 4 or words[0] not in "[(" or words[3] not in "])":
        return False
    number, low, high = _number(value), _number(words[1]), _number(words[2])
    if number is None or low is None or high is None:
        return False
    above = number >= low if words[0] == "[" else number > low
    return above and (number <= high if words[3] == "]" else number < high)
