"""An incident from its first alert to its last."""

from telemetry.alerts.incidents import EVENTS_MAX, Incident, Kind, Standing, advance
from telemetry.alerts.model import Acknowledgement


def standing(name, fired=1_000, **more):
    return Standing(id=name, title=name.upper(), summary="", fired_ms=fired, **more)


def taken(actor, at, fired=1_000):
    return Acknowledgement(actor=actor, at_ms=at, comment="mine", fired_ms=fired)


def new(opened_ms):
    return Incident(id="i", policy="default", key="{}", opened_ms=opened_ms)


class Played:
    """What becomes of an incident, look by look."""

    def __init__(self):
        self.incident = None
        self.told = []

    def at(self, at_ms, *alerts):
        self.incident, events = advance(self.incident, alerts, at_ms, new=new)
        self.told += [(one.at_ms, one.kind, one.alert) for one in events]
        return [one.kind for one in events]


def test_it_lasts_from_the_first_alert_to_the_end_of_the_last():
    played = Played()
    assert played.at(500) == []
    assert played.at(2_000, standing("a"), standing("b", 2_000)) == [Kind.FIRED, Kind.FIRED]
    assert played.at(3_000, standing("a"), standing("b", 2_000)) == []
    assert played.at(4_000, standing("b", 2_000)) == [Kind.ALERT_RESOLVED]
    assert played.incident.resolved_ms == 0
    assert played.at(5_000) == [Kind.ALERT_RESOLVED, Kind.RESOLVED]
    assert (played.incident.opened_ms, played.incident.resolved_ms) == (1_000, 5_000)
    assert played.incident.titles == ("A", "B")
    assert played.incident.firings == 2
    assert played.told[0] == (1_000, Kind.FIRED, "a")


def test_the_first_acknowledgement_counts_and_each_is_told_once():
    played = Played()
    one = taken("ada", 3_000)
    played.at(2_000, standing("a"), standing("b"))
    assert played.at(3_500, standing("a", acknowledgement=one), standing("b")) == [
        Kind.ACKNOWLEDGED
    ]
    both = (standing("a", acknowledgement=one), standing("b", acknowledgement=taken("bob", 4_000)))
    assert played.at(4_500, *both) == [Kind.ACKNOWLEDGED]
    assert played.at(5_000, *both) == []
    assert (played.incident.acknowledged_ms, played.incident.acknowledger) == (3_000, "ada")


def test_an_acknowledgement_of_an_earlier_firing_is_none_of_this_one():
    played = Played()
    played.at(2_000, standing("a", 2_000, acknowledgement=taken("ada", 1_500, fired=1_000)))
    assert not played.incident.acknowledged_ms
    assert [kind for _, kind, _ in played.told] == [Kind.FIRED]


def test_what_is_silenced_opens_none_and_closes_none():
    played = Played()
    assert played.at(2_000, standing("a", held=True)) == []
    assert played.incident is None
    played.at(3_000, standing("b", 3_000), standing("a", held=True))
    assert played.incident.firing == {"b": 3_000}
    assert played.at(4_000, standing("b", 3_000, held=True)) == []
    assert played.at(5_000, standing("a", held=True)) == [Kind.ALERT_RESOLVED, Kind.RESOLVED]


def test_an_alert_that_flaps_keeps_it_open_while_it_comes_and_goes():
    played = Played()
    played.at(2_000, standing("a"))
    assert played.at(3_000, standing("a", firing=False)) == [Kind.ALERT_RESOLVED]
    assert not played.incident.resolved_ms
    assert played.at(4_000, standing("a", 4_000)) == [Kind.FIRED]
    assert played.incident.firings == 2
    assert played.at(5_000) == [Kind.ALERT_RESOLVED, Kind.RESOLVED]


def test_a_timeline_without_room_still_has_its_acknowledgement_and_end():
    played = Played()
    for number in range(EVENTS_MAX):
        played.at(2_000 + number, standing("a", 2_000 + number))
    assert played.incident.events == EVENTS_MAX
    assert played.at(5_000, standing("a", 5_000)) == []
    last = standing("a", 5_000, acknowledgement=taken("ada", 6_000, fired=5_000))
    assert played.at(6_500, last) == [Kind.ACKNOWLEDGED]
    assert played.at(7_000) == [Kind.RESOLVED]
