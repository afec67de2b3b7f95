"""What happened, as a hash to compare two runs by and as a story to read when one of them failed."""

from __future__ import annotations

import hashlib
from collections import deque

from fabric.core.membership.events import Broadcast, Effect, PinLinks, Send

STORY_LINES_MAX = 2_000


class Trace:
    """Equal digests: the same frames arrived and the same effects were asked for, in the same order at the
    same times. Costs about a third of a run, so a world keeps one only when asked to."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.length = 0

    def frame(self, now_ms: int, sender: str, to: str, frame: bytes) -> None:
        self._hash.update(f"{now_ms} {sender}>{to} ".encode())
        self._hash.update(frame)
        self.length += 1

    def effect(self, now_ms: int, node: str, effect: Effect) -> None:
        match effect:
            case PinLinks(node_ids):  # a set has another order in each process
                text = f"PinLinks {sorted(node_ids)}"
            case Send(to, message):
                text = f"Send {to} {message.KIND}"
            case Broadcast(to, message):
                text = f"Broadcast {to} {message.KIND}"
            case _:
                text = repr(effect)
        self._hash.update(f"{now_ms} {node} {text}\n".encode())
        self.length += 1

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class Story:
    """The last lines of what a person would want to know."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=STORY_LINES_MAX)
        self.is_printed = False  # line by line, while it happens

    def tell(self, now_ms: int, text: str) -> None:
        line = f"{now_ms / 1000:10.3f}  {text}"
        self._lines.append(line)
        if self.is_printed:
            print(line)

    def tail(self, count: int = 60) -> str:
        return "\n".join(list(self._lines)[-count:])
