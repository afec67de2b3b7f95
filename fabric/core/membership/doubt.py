"""When this node holds its tongue: it may be cut off itself, or about to start a storm."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fabric.core.membership.context import Context
from fabric.core.membership.looks import Looks
from fabric.core.membership.model import GONE_STATES, MemberState
from proto.ids import NodeId

ACCUSATIONS_MAX = 24  # of silent or stalled members by this node within the doubt window: twice its links


class Doubt:
    def __init__(self, context: Context, looks: Looks) -> None:
        self._context = context
        self._looks = looks
        self._my_silences: deque[tuple[int, NodeId]] = deque()  # whom this node found silent, lately
        self._accused_ms: deque[int] = deque()
        self.heard_lately: Callable[[], int] = lambda: 0  # distinct members heard first-hand just now

    def may_accuse(self) -> bool:
        """A brake: suspicions cost everybody work, and work delays answers, which makes suspicions."""
        now_ms, config = self._context.now_ms, self._context.config
        while self._accused_ms and self._accused_ms[0] < now_ms - config.doubt_window_ms:
            self._accused_ms.popleft()
        if len(self._accused_ms) >= ACCUSATIONS_MAX:
            return False
        self._accused_ms.append(now_ms)
        return True

    def doubts_itself(self, target: NodeId) -> bool:
        """Many at once are silent to this node: then it may be this node that is cut off, and it holds its
        tongue until enough others are heard. Source: design/gossip.md 4.4."""
        context, config = self._context, self._context.config
        now_ms = context.now_ms
        while self._my_silences and self._my_silences[0][0] < now_ms - config.doubt_window_ms:
            self._my_silences.popleft()
        if all(node_id != target for _, node_id in self._my_silences):
            self._my_silences.append((now_ms, target))
        heard = self.heard_lately()
        if heard == 0 and context.living() - 1 > config.doubt_suspects_min:
            self._ask_around()
            return True  # cut off, or all others died at once: from here nobody could tell
        silent = {node_id for _, node_id in self._my_silences}
        if len(silent) <= max(
            config.doubt_suspects_min, context.living() * config.doubt_suspects_percent // 100
        ):
            return False
        here = sum(1 for entry in context.table if entry.state not in GONE_STATES and not entry.is_suspected)
        if heard >= max(1, min(config.votes_wanted, here - len(silent))):
            return False
        self._ask_around()
        return True

    def _ask_around(self) -> None:
        """Who answers now shows that this node is not cut off."""
        context = self._context
        silent = {node_id for _, node_id in self._my_silences}
        others = [
            entry.node_id
            for entry in context.table
            if entry.state is MemberState.ALIVE
            and entry.node_id not in silent
            and entry.node_id not in self._looks
        ]
        for node_id in context.rng.sample(others, min(context.config.deputies, len(others))):
            self._looks.start(node_id, lambda finding, by_others: None)
