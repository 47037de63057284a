"""Whatever happens to devices and their connections, afterwards all have the same, and nothing is lost."""

import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aerofusion_client.space import deleting, setting
from tests.scenarios.syncd.simulator import Device, Server, check, settle


DEVICES = 3
records = st.sampled_from(["UA1", "UA2"])
texts = st.sampled_from(["A1", "B2", "C3"])
small = st.integers(0, 7)

actions = st.one_of(
    st.tuples(st.just("set"), records, st.sampled_from(["gate", "status"]), texts),
    st.tuples(st.just("delete"), records),
    st.tuples(st.just("several"), records, texts),
    st.tuples(st.just("connect")),
    st.tuples(st.just("cut")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("up")),
    st.tuples(st.just("down")),
    st.tuples(st.just("feed"), small),
    st.tuples(st.just("exchange")),
    st.tuples(st.just("repeat_push"), small),
    st.tuples(st.just("repeat_frame"), small),
    st.tuples(st.just("push_beside"), small),
    st.tuples(st.just("clock"), st.integers(-(10**11), 10**11)),
    st.tuples(st.just("time"), st.integers(1, 10_000)),
)


def act(server, device, action, *args):
    match action:
        case "set":
            device.set(args[0], **{args[1]: args[2]})
        case "delete":
            device.delete(args[0])
        case "several":
            device.write(deleting(args[0]), setting(args[0], {"status": args[1]}))
        case "connect":
            device.connect()
        case "cut":
            device.cut()
        case "crash":
            device.restart()
        case "up":
            device.step_up()
        case "down":
            device.step_down()
        case "feed":
            device.step_feed(args[0])
        case "exchange":
            device.connect()
            for _ in range(4):
                device.step_up()
                device.step_feed()
                device.step_down()
        case "repeat_push":
            device.repeat_push(args[0])
        case "push_beside":
            device.push_beside(args[0])
        case "repeat_frame":
            device.repeat_frame(args[0])
        case "clock":
            device.clock_error_ms = args[0]
        case "time":
            server.now_ms += args[0]


WEIGHTS = {
    ("set", "UA1", "gate", "A1"): 6,
    ("set", "UA1", "gate", "B2"): 6,
    ("set", "UA1", "status", "C3"): 4,
    ("set", "UA2", "gate", "A1"): 4,
    ("delete", "UA1"): 5,
    ("several", "UA1", "B2"): 3,
    ("exchange",): 10,
    ("connect",): 3,
    ("cut",): 3,
    ("crash",): 2,
    ("up",): 8,
    ("down",): 8,
    ("feed", 0): 4,
    ("feed", 1): 3,
    ("feed", 2): 2,
    ("repeat_push", 0): 1,
    ("repeat_push", 5): 2,
    ("repeat_frame", 3): 2,
    ("repeat_frame", 7): 2,
    ("push_beside", 0): 1,
    ("push_beside", 1): 3,
    ("clock", -5_000): 1,
    ("clock", 10**11): 1,
    ("time", 1_500): 2,
}


def run(script):
    server = Server()
    devices = [Device(server, name) for name in "abc"]
    try:
        for index, action in script:
            act(server, devices[index], *action)
        settle(server, devices)
        check(server, devices)
    finally:
        for device in devices:
            device.store.close()


@pytest.mark.parametrize("seed", range(20))
def test_a_long_random_day_ends_in_step(seed):
    chance = random.Random(seed)
    for _ in range(40):
        kinds = chance.choices(list(WEIGHTS), WEIGHTS.values(), k=chance.randint(10, 120))
        run([(chance.randrange(DEVICES), kind) for kind in kinds])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, DEVICES - 1), actions), max_size=80))
@example([(0, ("set", "UA1", "gate", "A1")), (0, ("exchange",)), (0, ("repeat_push", 0))])
def test_all_devices_come_into_step_and_nothing_is_lost_or_doubled(script):
    run(script)
