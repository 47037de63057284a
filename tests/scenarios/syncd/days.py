"""Days of devices that write, lose their connection and come back: as scripts, and at random."""

import random

from aerofusion_client.space import deleting, setting
from tests.scenarios.syncd.simulator import Device, Server, check, settle


DEVICES = 3
RUNS = 40
"""In a day at random; each begins with nothing."""


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


def random_day(seed):
    """Run what *seed* makes of a day."""
    chance = random.Random(seed)
    for _ in range(RUNS):
        kinds = chance.choices(list(WEIGHTS), WEIGHTS.values(), k=chance.randint(10, 120))
        run([(chance.randrange(DEVICES), kind) for kind in kinds])
