"""Answers to whoever waits, who may have gone meanwhile."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


def settle(future: asyncio.Future[T], value: T | BaseException) -> None:
    """Nothing where it is done already."""
    if future.done():
        return
    if isinstance(value, BaseException):
        future.set_exception(value)
        future.exception()  # retrieved: a cancelled caller must not make asyncio complain
    else:
        future.set_result(value)
