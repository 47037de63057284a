"""
The session between the gateway's own delta subscription and a model of Envoy.

Whatever happens in whatever order, in the end Envoy and the shelf hold what the gateway
has, and a reconnect without a change sends Envoy nothing.
"""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway.relay.session import Answer, Ask, Item, Keep, KeepOnly, Session, ToEnvoy, ToGateway
from gateway.xds.delta import DeltaSubscription
from gateway.xds.resources import BY_KEY, Resource
from gateway.xds.subscription import Request


CDS, EDS = BY_KEY["CDS"], BY_KEY["EDS"]
KINDS = {kind.type_url: kind for kind in (CDS, EDS)}
NAMES = st.sampled_from(["a", "b", "c"])
TYPES = st.sampled_from(sorted(KINDS))
OWN = "c"
"""Of the endpoints, the one that the relay answers for itself."""


class Envoy:
    """Holds what it asked for, and the endpoints of its clusters; answers when told to."""

    def __init__(self, held: dict[str, dict[str, str]] | None = None) -> None:
        self.held = held or {url: {} for url in KINDS}
        self.wanted: set[str] = set(self.held[EDS.type_url])
        self.unanswered: deque[Answer] = deque()
        self.received = 0

    def greet(self) -> list[Ask]:
        asks = [Ask(type_url=CDS.type_url, held=dict(self.held[CDS.type_url]))]
        if self.wanted:
            held = dict(self.held[EDS.type_url])
            asks.append(Ask(type_url=EDS.type_url, subscribe=tuple(sorted(self.wanted)), held=held))
        return asks

    def receive(self, answer: Answer) -> None:
        self.unanswered.append(answer)
        self.received += len(answer.items) + len(answer.removed)

    def reply(self, *, refuse: bool) -> list[Ask]:
        answer = self.unanswered.popleft()
        if refuse:
            return [Ask(type_url=answer.type_url, nonce=answer.nonce, error=b"no")]
        held = self.held[answer.type_url]
        for item in answer.items:
            # Endpoints may come after their cluster went; what it didn't ask for Envoy ignores.
            if answer.type_url == CDS.type_url or item.name in self.wanted:
                held[item.name] = item.version
        for name in answer.removed:
            held.pop(name, None)
        asks = [Ask(type_url=answer.type_url, nonce=answer.nonce)]
        if answer.type_url == CDS.type_url:
            asks += self._follow_clusters()
        return asks

    def _follow_clusters(self) -> list[Ask]:
        now = set(self.held[CDS.type_url])
        more, less = sorted(now - self.wanted), sorted(self.wanted - now)
        self.wanted = now
        for name in less:
            self.held[EDS.type_url].pop(name, None)
        if not more and not less:
            return []
        return [Ask(type_url=EDS.type_url, subscribe=tuple(more), unsubscribe=tuple(less))]


class Gateway:
    """The gateway's side of one stream: its real subscriptions."""

    def __init__(self, target: dict[str, dict[str, Resource]], number: int) -> None:
        self.target = target
        self.subscriptions = {url: DeltaSubscription(kind) for url, kind in KINDS.items()}
        self.asked: set[str] = set()
        self.prefix = f"s{number}-"
        self.count = 0

    def hear(self, ask: Ask) -> None:
        self.asked.add(ask.type_url)
        told = {*ask.subscribe, *ask.unsubscribe, *ask.held}
        assert ask.type_url != EDS.type_url or OWN not in told, "it is the relay's own"
        self.subscriptions[ask.type_url].on_request(
            Request(
                names=ask.subscribe,
                unsubscribe=ask.unsubscribe,
                held=ask.held,
                nonce=ask.nonce,
                error=ask.error.decode(),
            ),
            0.0,
        )

    def speak(self, type_url: str) -> Answer | None:
        if type_url not in self.asked:
            return None
        self.count += 1
        push = self.subscriptions[type_url].offer(
            dict(self.target[type_url]), f"{self.prefix}{self.count}", removals=True
        )
        if push is None:
            return None
        return Answer(
            type_url=type_url,
            nonce=push.nonce,
            items=tuple(Item(r.name, r.version) for r in push.upserts),
            removed=push.removals,
        )


class Splice(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.target: dict[str, dict[str, Resource]] = {url: {} for url in KINDS}
        self.shelf: dict[str, dict[str, Item]] = {}
        self.versions = 0
        self.streams = 0
        self.own = {EDS.type_url: {OWN: Item(OWN, "own 0")}}
        self.gateway: Gateway | None = None
        self._start(Envoy())

    def _start(self, envoy: Envoy) -> None:
        self.envoy = envoy
        self.gateway = None
        self.session = Session(
            shelf=self.shelf,
            own=self.own,
            reserved={EDS.type_url: frozenset({OWN})},
            wildcards={CDS.type_url},
        )
        self._tell(envoy.greet())

    def _tell(self, asks: list[Ask]) -> None:
        for ask in asks:
            self._act(self.session.on_ask(ask))

    def _act(self, actions) -> None:
        for action in actions:
            match action:
                case ToEnvoy(answer):
                    self.envoy.receive(answer)
                case ToGateway(ask):
                    assert self.gateway is not None, "spoke to a gateway that is away"
                    self.gateway.hear(ask)
                case Keep(type_url, items, removed):
                    table = self.shelf.setdefault(type_url, {})
                    table.update({item.name: item for item in items})
                    for name in removed:
                        table.pop(name, None)
                case KeepOnly(type_url, names):
                    table = self.shelf.setdefault(type_url, {})
                    for name in table.keys() - names:
                        del table[name]

    @rule(name=NAMES)
    def change(self, name):
        self.versions += 1
        for table in self.target.values():
            table[name] = Resource(name, str(self.versions), b"x")

    @rule(name=NAMES, type_url=TYPES)
    def change_one(self, name, type_url):
        if name in self.target[type_url]:
            self.versions += 1
            self.target[type_url][name] = Resource(name, str(self.versions), b"x")

    @rule()
    def change_own(self):
        self.versions += 1
        self.own[EDS.type_url][OWN] = Item(OWN, f"own {self.versions}")
        self._act(self.session.on_own_change(EDS.type_url))

    @rule(name=NAMES)
    def delete(self, name):
        for table in self.target.values():
            table.pop(name, None)

    @precondition(lambda self: self.gateway is None)
    @rule()
    def connect(self):
        self.streams += 1
        self.gateway = Gateway(self.target, self.streams)
        self._act(self.session.on_connected())

    @rule()
    def lose(self):
        self.gateway = None
        self._act(self.session.on_lost())

    @precondition(lambda self: self.gateway is not None)
    @rule(type_url=TYPES)
    def gateway_speaks(self, type_url):
        answer = self.gateway.speak(type_url)
        if answer is not None:
            self._act(self.session.on_answer(answer))

    @precondition(lambda self: self.envoy.unanswered)
    @rule(refuse=st.sampled_from([False, False, False, True]))
    def envoy_replies(self, refuse):
        self._tell(self.envoy.reply(refuse=refuse))

    @rule()
    def envoy_restarts(self):
        self._start(Envoy())

    @rule()
    def envoy_reconnects(self):
        self._start(Envoy(self.envoy.held))

    @rule()
    def quiet(self):
        if self.gateway is not None and not self.envoy.unanswered:
            self._settle()
            self._act(self.session.on_quiet())

    @rule()
    def all_agree_in_the_end(self):
        if self.gateway is None:
            self.connect()
        # What was refused is parked until it changes; so let everything change.
        for name in list(self.target[CDS.type_url]):
            self.change(name)
        self.change_own()
        self._settle()
        self._act(self.session.on_quiet())
        wanted = {
            url: {name: resource.version for name, resource in table.items()}
            for url, table in self.target.items()
        }
        kept = {url: dict(table) for url, table in wanted.items()}
        if kept[EDS.type_url].pop(OWN, None):
            wanted[EDS.type_url][OWN] = self.own[EDS.type_url][OWN].version
        assert self.envoy.held == wanted
        for url, table in kept.items():
            shelf = {item.name: item.version for item in self.shelf.get(url, {}).values()}
            if table:
                assert shelf == table

        self.lose()
        assert not self.envoy.unanswered, "the shelf sent what Envoy holds"
        received = self.envoy.received
        self.connect()
        self._settle()
        assert self.envoy.received == received, "a reconnect without a change sent something"

    def _settle(self) -> None:
        busy = True
        while busy:
            busy = False
            while self.envoy.unanswered:
                self._tell(self.envoy.reply(refuse=False))
                busy = True
            for type_url in KINDS:
                answer = self.gateway.speak(type_url)
                if answer is not None:
                    self._act(self.session.on_answer(answer))
                    busy = True


def test_endpoints_that_come_after_their_cluster_went_are_not_held():
    state = Splice()
    state.change("c")
    state.all_agree_in_the_end()
    state.delete("c")
    state.gateway_speaks(CDS.type_url)
    state.all_agree_in_the_end()


TestSplice = Splice.TestCase
TestSplice.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
