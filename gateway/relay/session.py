"""
One Envoy's delta stream, spliced to the gateway's or served from the shelf.

A pure state machine: no clock, no I/O, no asyncio. `stream.py` feeds it what Envoy and
the gateway say, and carries out the actions it returns.

                 on_connected                          for each type:
    WAITING ───────────────────▶ ONLINE                  introduced to the gateway, with what
       │ on_lost                 │    ▲                  Envoy holds, once nothing of the
       ▼          on_lost        ▼    │ on_connected     shelf's is unanswered
    OFFLINE ◀────────────────────┴────┘

Envoy sees one stream with one sequence of nonces. The gateway sees a client that holds
what Envoy holds. Versions are hashes of contents, so they mean the same to all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from gateway.relay.words import (
    Action,
    Answer,
    Ask,
    Item,
    Keep,
    KeepOnly,
    Table,
    ToEnvoy,
    ToGateway,
)


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

UNKNOWN_VERSION: Final = "?"
"""Claimed of what Envoy may hold in a form the relay doesn't know: the gateway sends it
again, or says that it is gone."""


__all__ = [
    "UNKNOWN_VERSION",
    "Action",
    "Answer",
    "Ask",
    "Item",
    "Keep",
    "KeepOnly",
    "Link",
    "Session",
    "ToEnvoy",
    "ToGateway",
]


class Link(Enum):
    WAITING = auto()
    """It isn't known yet whether the gateway can be reached."""
    ONLINE = auto()
    OFFLINE = auto()


@dataclass(frozen=True, slots=True)
class _Pending:
    """A response that Envoy hasn't answered."""

    items: tuple[Item, ...]
    removed: tuple[str, ...]
    from_gateway: bool
    upstream_nonce: str
    """"" when it came from the shelf, or the stream it came by has ended."""


@dataclass(slots=True)
class _Type:
    """What is known of one resource type."""

    started: bool = False
    wildcard: bool = False
    introduced: bool = False
    answered: bool = False
    """Whether the gateway has said anything about it on the present stream."""
    names: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    """Sent and refused together with others: Envoy may hold them or not."""
    again: set[str] = field(default_factory=set)
    """Asked for though held: Envoy may have dropped them."""
    absent: set[str] = field(default_factory=set)
    """Asked for, and told that there is none."""
    refused: dict[str, str] = field(default_factory=dict)
    pending: dict[str, _Pending] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


class Session:
    """
    One stream of Envoy's.

    Invariants: nothing from the shelf is sent while the gateway is there; what Envoy
    holds is never replaced by what the shelf remembers; own names never reach the gateway,
    and nothing that the gateway says is taken for them.

    Args:
        shelf: What was acknowledged, read whenever the gateway is away. A live view.
        own: The relay's own items, served by it always. A live view.
        reserved: Names of each type in `own` that are the relay's, whether it has them or not.
        wildcards: Types of which a first request without names means all.

    """

    def __init__(
        self,
        *,
        shelf: Table,
        own: Table,
        reserved: Mapping[str, frozenset[str]],
        wildcards: Collection[str],
    ) -> None:
        self._shelf = shelf
        self._own = own
        self._reserved = reserved
        self._wildcards = frozenset(wildcards)
        self._types: dict[str, _Type] = {}
        self._nonce = 0
        self._was_online = False
        self.link = Link.WAITING

    def on_ask(self, ask: Ask) -> list[Action]:
        """Take in a request of Envoy's."""
        known = self._types.setdefault(ask.type_url, _Type())
        answered = known.pending.pop(ask.nonce, None)
        actions: list[Action] = []
        if answered is not None:
            actions += self._conclude(ask, known, answered)
        first = not known.started
        self._subscribe(ask, known)
        if ask.type_url in self._own:
            actions += self._serve_own(ask.type_url, known)
        match self.link:
            case Link.ONLINE if known.introduced and not first:
                actions += self._pass_on(ask, known, answered.upstream_nonce if answered else "")
            case Link.ONLINE:
                actions += self._introduce(ask.type_url, known)
            case Link.OFFLINE:
                actions += self._serve(ask.type_url, known)
            case Link.WAITING:
                pass
        return actions

    def _pass_on(self, ask: Ask, known: _Type, nonce: str) -> Iterator[Action]:
        """Tell the gateway what concerns it of a request; *nonce* is of its own answer."""
        subscribe = self._foreign_of(ask.type_url, ask.subscribe)
        unsubscribe = self._foreign_of(ask.type_url, ask.unsubscribe)
        if nonce or subscribe or unsubscribe:
            known.again.difference_update(subscribe)
            yield ToGateway(
                Ask(
                    type_url=ask.type_url,
                    subscribe=subscribe,
                    unsubscribe=unsubscribe,
                    nonce=nonce,
                    error=ask.error if nonce else b"",
                )
            )

    def on_connected(self) -> list[Action]:
        """Note that a stream to the gateway is open, on which nothing has been said yet."""
        self.link = Link.ONLINE
        self._was_online = True
        actions: list[Action] = []
        for type_url, known in self._types.items():
            actions += self._introduce(type_url, known)
        return actions

    def on_answer(self, answer: Answer) -> list[Action]:
        """Pass on a response of the gateway's, under a nonce of this stream's."""
        known = self._types.get(answer.type_url)
        if known is None or not known.introduced:
            return []  # Nobody asked.
        known.answered = True
        ours = self._reserved.get(answer.type_url, frozenset())
        return [
            self._deliver(
                answer.type_url,
                known,
                items=tuple(item for item in answer.items if item.name not in ours),
                removed=tuple(name for name in answer.removed if name not in ours),
                problems=tuple(one for one in answer.problems if one[0] not in ours),
                version=answer.version,
                upstream_nonce=answer.nonce,
            )
        ]

    def on_lost(self) -> list[Action]:
        """Note that the gateway's stream has ended, or that it can't be reached."""
        self.link = Link.OFFLINE
        actions: list[Action] = []
        for type_url, known in self._types.items():
            known.introduced = False
            known.answered = False
            known.pending = {
                nonce: _Pending(sent.items, sent.removed, sent.from_gateway, "")
                for nonce, sent in known.pending.items()
            }
            actions += self._serve(type_url, known)
        return actions

    def on_own_change(self, type_url: str) -> list[Action]:
        """Note that the relay's own items of *type_url* have changed."""
        known = self._types.get(type_url)
        return [] if known is None else list(self._serve_own(type_url, known))

    def on_quiet(self) -> list[Action]:
        """
        Note that the gateway has long sent nothing: Envoy holds what it should.

        What the shelf has beyond that was deleted while no stream was open to say so. A
        gateway that has not spoken of a type at all may be hung: nothing follows from that.
        """
        if self.link is not Link.ONLINE:
            return []
        return [
            KeepOnly(type_url, frozenset(self._foreign_of(type_url, known.held)))
            for type_url, known in self._types.items()
            if known.answered and not known.pending and not known.doubtful
        ]

    @property
    def is_starving(self) -> bool:
        """Whether Envoy waits for a silent gateway for something that the shelf has."""
        return any(
            known.introduced
            and not known.answered
            and any(
                known.wants(name) and name not in known.held
                for name in self._foreign_of(type_url, self._shelf.get(type_url, ()))
            )
            for type_url, known in self._types.items()
        )

    def _foreign_of(self, type_url: str, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of *names* that the gateway answers for."""
        ours = self._reserved.get(type_url, frozenset())
        return tuple(name for name in names if name not in ours)

    def _conclude(self, ask: Ask, known: _Type, sent: _Pending) -> Iterator[Action]:
        """Take in what Envoy says of a response: held from now on, or refused."""
        if ask.error:
            known.doubtful.update(item.name for item in sent.items)
            known.doubtful.update(sent.removed)
            if not sent.from_gateway:
                known.refused.update((item.name, item.version) for item in sent.items)
            return
        for item in sent.items:
            if item.beat:
                continue  # Envoy holds it, or has dropped it and is told nothing new.
            known.doubtful.discard(item.name)
            known.absent.discard(item.name)
            if known.wants(item.name):
                known.held[item.name] = item.version
        for name in sent.removed:
            known.doubtful.discard(name)
            known.held.pop(name, None)
            known.absent.add(name)
        if sent.from_gateway:
            # What ends unless the gateway says otherwise isn't for when there is none.
            lasting = tuple(item for item in sent.items if not item.ends)
            ending = tuple(item.name for item in sent.items if item.ends)
            yield Keep(ask.type_url, lasting, (*sent.removed, *ending))

    def _subscribe(self, ask: Ask, known: _Type) -> None:
        if not known.started:
            known.started = True
            known.held.update(ask.held)
            known.wildcard = not ask.subscribe and ask.type_url in self._wildcards
        for name in ask.subscribe:
            if name == "*":
                known.wildcard = True
                continue
            if name not in ask.held and (name in known.names or name in known.held):
                known.again.add(name)
            known.names.add(name)
            known.absent.discard(name)
        for name in ask.unsubscribe:
            if name == "*":
                known.wildcard = False
            known.names.discard(name)
        if ask.unsubscribe:
            known.held = {n: version for n, version in known.held.items() if known.wants(n)}
            known.again &= known.names

    def _introduce(self, type_url: str, known: _Type) -> Iterator[Action]:
        """Tell the gateway what Envoy wants of a type and what it holds, once that is settled."""
        names = self._foreign_of(type_url, sorted(known.names))
        if known.introduced or known.pending or not (known.wildcard or names):
            return
        shelf = self._shelf.get(type_url, {})
        held = dict.fromkeys(self._foreign_of(type_url, known.doubtful), UNKNOWN_VERSION)
        for name in self._foreign_of(type_url, known.held):
            version = known.held[name]
            if name in known.again:
                continue
            on_shelf = shelf.get(name)
            same = on_shelf is not None and on_shelf.version == version
            held[name] = version if same and name not in known.doubtful else UNKNOWN_VERSION
        everything = ("*",) if known.wildcard and names else ()
        known.introduced = True
        known.again.difference_update(self._foreign_of(type_url, known.again))
        known.absent.clear()
        subscribe = (*everything, *names)
        yield ToGateway(Ask(type_url=type_url, subscribe=subscribe, held=held))

    def _serve(self, type_url: str, known: _Type) -> Iterator[Action]:
        """Send what Envoy wants and the shelf has; one response at a time."""
        if known.pending or not known.started:
            return
        table = self._shelf.get(type_url, {})
        names = self._foreign_of(type_url, sorted(table if known.wildcard else known.names))
        items = tuple(
            table[name] for name in names if name in table and self._is_due(known, table[name])
        )
        removed = tuple(self._missing(type_url, known, table))
        if items or removed:
            known.again.difference_update(item.name for item in items)
            yield self._deliver(type_url, known, items=items, removed=removed)

    def _serve_own(self, type_url: str, known: _Type) -> Iterator[Action]:
        """Send what Envoy wants and is the relay's own; one response at a time."""
        if known.pending or not known.started:
            return
        table = self._own[type_url]
        items = tuple(
            item
            for name in sorted(known.names & self._reserved[type_url])
            if (item := table.get(name)) is not None
            and (self._is_due(known, item) or known.held.get(name) != item.version)
            and known.refused.get(name) != item.version
        )
        if items:
            known.again.difference_update(item.name for item in items)
            yield self._deliver(type_url, known, items=items, removed=())

    @staticmethod
    def _is_due(known: _Type, item: Item) -> bool:
        if known.refused.get(item.name) == item.version:
            return False
        return item.name in known.again or item.name not in known.held

    def _missing(self, type_url: str, known: _Type, table: Mapping[str, Item]) -> Iterable[str]:
        """
        Yield names of which there is nothing, so that a starting Envoy need not wait.

        Not to an Envoy that the gateway has served on this stream: it has a good
        configuration, which a name that comes a little later must not empty.
        """
        if self._was_online:
            return
        for name in self._foreign_of(type_url, sorted(known.names - known.absent)):
            if name not in table and name not in known.held:
                yield name

    def _deliver(
        self,
        type_url: str,
        known: _Type,
        *,
        items: tuple[Item, ...],
        removed: tuple[str, ...],
        problems: tuple[tuple[str, bytes], ...] = (),
        version: str = "",
        upstream_nonce: str = "",
    ) -> ToEnvoy:
        self._nonce += 1
        nonce = str(self._nonce)
        known.pending[nonce] = _Pending(items, removed, bool(upstream_nonce), upstream_nonce)
        return ToEnvoy(
            Answer(
                type_url=type_url,
                nonce=nonce,
                version=version,
                items=items,
                removed=removed,
                problems=problems,
            )
        )
