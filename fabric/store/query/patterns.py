"""Regular expressions that users filter by."""

from __future__ import annotations

import re

from fabric.core.queries import BadFilterError

REGEX_CHARS_MAX = 255


def compiled(text: str | None, field: str) -> re.Pattern[str] | None:
    """Nova matches with the database's regular expressions; a bad one is the caller's mistake.

    Raises: BadFilterError."""
    if text is None:
        return None
    if len(text) > REGEX_CHARS_MAX:
        raise BadFilterError(f"Invalid filter {field}: longer than {REGEX_CHARS_MAX} characters.")
    if re.search(r"[*+}?]\s*\)?\s*[*+{]", text) or re.search(r"\([^)]*[*+][^)]*\)\s*[*+{]", text):
        # nested repetition: exponential time in a backtracking matcher
        raise BadFilterError(f"Invalid filter {field}: nested repetition is not supported.")
    try:
        return re.compile(text)
    except re.error as error:
        raise BadFilterError(f"Invalid filter {field}: {error}.") from error
