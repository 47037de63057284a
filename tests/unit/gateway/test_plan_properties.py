"""Any conversation with a delta client ends with the client holding what it should."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.xds.delta import DeltaSubscription
from gateway.xds.plan import Plan
from gateway.xds.resources import BY_KEY, Resource, Snapshot
from gateway.xds.subscription import Request


CLUSTERS = "abcd"
ROUTES = "rst"
NO_TIMEOUT_S = 1e9
SETTLE_S = 1.0


class Client:
    """What Envoy does: applies and answers responses in their order, type by type."""

    def __init__(self, held=None):
        self.held = held or {"CDS": {}, "RDS": {}}
        self.inbox = {"CDS": [], "RDS": []}

    def receive(self, push):
        self.inbox[push.kind.key].append(push)

    def points_at(self):
        """Clusters that its routes lead to: a route's version ends in its cluster's name."""
        return {version[-1] for version in self.held["RDS"].values()}


class Conversation(RuleBasedStateMachine):
    """Clusters and the routes to them, changed and acknowledged in every order."""

    refuses = False

    @initialize()
    def start(self):
        self.client = Client()
        self.now = 0.0
        self.version = 0
        self.routes = {}
        self.content = {}
        self.bad = set()
        self.refused = set()
        self.snapshot = Snapshot()
        self._connect()

    def _connect(self):
        self.plan = Plan(DeltaSubscription, barrier_timeout=NO_TIMEOUT_S, settle=SETTLE_S)
        self.connected_at = self.now
        self.plan.on_snapshot(self.snapshot)
        self.client.inbox = {"CDS": [], "RDS": []}
        self.refused = set()
        self._say("CDS", Request(held=dict(self.client.held["CDS"])))
        self.routes_said = False

    def _say_routes(self):
        """Clients say one type after the other, and may be answered in between."""
        if not self.routes_said:
            self.routes_said = True
            self._say("RDS", Request(names=tuple(ROUTES), held=dict(self.client.held["RDS"])))

    def _say(self, key, request):
        for refusal in self.plan.on_request(BY_KEY[key], request, self.now):
            self.refused.add((key, refusal.resource.name, refusal.resource.version))
        self._step()

    def _step(self):
        for push in self.plan.step(self.now):
            key = push.kind.key
            for item in push.upserts:
                assert (key, item.name, item.version) not in self.refused
            self.client.receive(push)

    @rule(
        routes=st.dictionaries(st.sampled_from(ROUTES), st.sampled_from(CLUSTERS)),
        spare=st.sets(st.sampled_from(CLUSTERS)),
        touched=st.sets(st.sampled_from(CLUSTERS)),
        bad=st.sets(st.sampled_from(CLUSTERS + ROUTES)),
        anew=st.booleans(),
    )
    def change(self, routes, spare, touched, bad, anew):
        """Publish a snapshot in which every route leads to a cluster that is there."""
        self.version += 1
        clusters = set(routes.values()) | spare
        for name in clusters:
            if name in touched or name not in self.content:
                self.content[name] = f"{self.version}"
        self.content = {name: v for name, v in self.content.items() if name in clusters}
        for name, cluster in routes.items():
            if self.routes.get(name, " ")[-1] != cluster:
                self.routes[name] = f"{self.version}{cluster}"
        self.routes = {name: v for name, v in self.routes.items() if name in routes}
        if self.refuses:
            self.bad |= {("CDS", n, self.content[n]) for n in bad & self.content.keys()}
            self.bad |= {("RDS", n, self.routes[n]) for n in bad & self.routes.keys()}
        upserts = [("CDS", Resource(n, v, b"")) for n, v in self.content.items()]
        upserts += [("RDS", Resource(n, v, b"")) for n, v in self.routes.items()]
        # Made from nothing, a snapshot doesn't know what differs from the one before.
        before = Snapshot() if anew else self.snapshot
        removals = [("CDS", name) for name in CLUSTERS if name not in self.content]
        removals += [("RDS", name) for name in ROUTES if name not in self.routes]
        self.snapshot = before.changed(self.version, upserts, removals)
        self.plan.on_snapshot(self.snapshot)
        self._step()

    @rule(key=st.sampled_from(["CDS", "RDS"]), named=st.booleans())
    def answer(self, key, named):
        """Apply and answer the oldest response; a bad resource is refused, by name or not."""
        if not self.client.inbox[key]:
            return
        push = self.client.inbox[key].pop(0)
        items = {item.name: (key, item.name, item.version) for item in push.upserts}
        bad = [name for name, item in items.items() if item in self.bad]
        if bad and not named:  # Of a proto error nothing at all is applied.
            self._say(key, Request(nonce=push.nonce, error="constraint violated"))
            return
        held = self.client.held[key]
        for name, (_, _, version) in items.items():
            if name not in bad:
                held[name] = version
        for name in push.removals:
            held.pop(name, None)
        error = f"these are bad: {', '.join(bad)}" if bad else ""
        self._say(key, Request(nonce=push.nonce, error=error))

    @rule()
    def reconnect(self):
        self._connect()

    @rule(seconds=st.sampled_from([0.3, 2.0]))
    def wait(self, seconds):
        """Let time pass; a client says all it has to say before it has settled."""
        if self.now + seconds >= self.connected_at + SETTLE_S:
            self._say_routes()
        self.now += seconds
        self._step()

    @rule()
    def say_routes(self):
        self._say_routes()

    @invariant()
    @precondition(lambda self: hasattr(self, "client"))
    def at_most_one_response_of_a_type_is_out(self):
        assert all(len(inbox) <= 1 for inbox in self.client.inbox.values())

    @invariant()
    @precondition(lambda self: hasattr(self, "client") and not self.refuses)
    def no_route_leads_nowhere(self):
        assert self.client.points_at() <= self.client.held["CDS"].keys()

    def teardown(self):
        if not hasattr(self, "client"):
            return
        self.wait(2 * SETTLE_S)
        for _ in range(100):
            if not any(self.client.inbox.values()):
                break
            for key in ("CDS", "RDS"):
                self.answer(key, named=True)
        assert not any(self.client.inbox.values()), "it never comes to rest"
        for key, expected in (("CDS", self.content), ("RDS", self.routes)):
            held = self.client.held[key]
            wanted = {n: v for n, v in expected.items() if (key, n, v) not in self.bad}
            assert {name: held.get(name) for name in wanted} == wanted
            assert held.keys() <= expected.keys()
        assert self.plan.acked_revision == self.version


class RefusingConversation(Conversation):
    """The same with contents that the client refuses."""

    refuses = True


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRefusingConversation = RefusingConversation.TestCase
TestRefusingConversation.settings = TestConversation.settings
