"""What proxies may hold without knowing it: a client forgets what it took of a refused response."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final


NODES_MAX: Final = 10_000
"""Nodes remembered; the one longest unheard of is forgotten for a new one."""

NAMES_MAX: Final = 1_000
"""Names of one node and type."""

Names = Mapping[str, frozenset[str]]
"""By the type's key."""


class Doubts:
    """
    By node, the names that it may hold and won't list when it comes back.

    Of a refused response a client may have applied parts; should it lose the stream before it
    has acknowledged them anew, `initial_resource_versions` leaves them out, and what is deleted
    meanwhile would stay at the client for ever.
    """

    def __init__(self, *, changed: Callable[[str], None] = lambda _: None) -> None:
        """*changed* is told of each node of which there is something else to remember."""
        self._changed = changed
        self._nodes: OrderedDict[str, Names] = OrderedDict()

    def of(self, node_id: str) -> Names:
        """Return what is remembered of a node."""
        return self._nodes.get(node_id, {})

    def note(self, node_id: str, names: Names) -> None:
        """Remember this of a node, and nothing else."""
        if self._put(node_id, names):
            self._changed(node_id)

    def learn(self, nodes: Mapping[str, Names]) -> None:
        """Remember what is remembered elsewhere."""
        for node_id, names in nodes.items():
            self._put(node_id, names)

    def _put(self, node_id: str, names: Names) -> bool:
        bounded = {key: frozenset(sorted(found)[:NAMES_MAX]) for key, found in names.items()}
        if bounded == self.of(node_id):
            return False
        if not bounded:
            del self._nodes[node_id]
            return True
        self._nodes[node_id] = bounded
        self._nodes.move_to_end(node_id)
        while len(self._nodes) > NODES_MAX:
            self._nodes.popitem(last=False)
        return True
