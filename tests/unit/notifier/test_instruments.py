"""What the notifier tells of itself."""

from notifier.instruments import Instruments
from notifier.model import Lane


def told(instruments):
    return {
        (one.attributes["channel"], one.attributes["lane"]): one.value
        for one in instruments._observe_depth()
    }


def test_a_queue_that_is_empty_is_told_as_empty():
    instruments = Instruments()
    instruments.planned("email")
    lanes = {("email", lane.name.lower()): 0 for lane in Lane}
    assert told(instruments) == lanes

    first = next(iter(Lane))
    instruments.depth({("email", first): 3})
    assert told(instruments) == {**lanes, ("email", first.name.lower()): 3}

    instruments.depth({})
    assert told(instruments) == lanes
