"""
Synthetic passengers: who they are, what they speak, which flights they care about.

Everything follows from a passenger's number and the day, so every process of the demo, and each of
its restarts, knows the same people. Their addresses are at domains reserved for examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from meshctl.demo.day import HOME_ZONE, Day
from meshctl.demo.timeline import chance


class Channel(StrEnum):
    """A way a passenger chose to be told."""

    EMAIL = "email"
    IN_APP = "inapp"


LOCALES = ("en", "es", "de", "fr")
DEFAULT_PASSENGERS = 300
PASSENGERS_MAX = 20_000

_GIVEN = {
    "en": ("Ada", "Grace", "Alan", "Olivia", "James", "Amelia", "George", "Ella", "Henry", "Ruby"),
    "es": ("Lucía", "Mateo", "Sofía", "Hugo", "Elena", "Pablo", "Carmen", "Diego", "Inés", "Luis"),
    "de": ("Emmy", "Carl", "Anneliese", "Jürgen", "Lena", "Konrad", "Käthe", "Felix", "Ida", "Otto"),
    "fr": ("Sophie", "Émile", "Chloé", "Henri", "Zoé", "Luc", "Margaux", "Rémi", "Anaïs", "Noël"),
}  # fmt: skip
_FAMILY = {
    "en": ("Lovelace", "Hopper", "Turing", "Walker", "Bennett", "Clarke", "Reid", "O'Brien"),
    "es": ("García", "Muñoz", "Ibáñez", "Romero", "Ortega", "Peña", "Vidal", "Navarro"),
    "de": ("Noether", "Gauß", "Schröder", "Müller", "Weiß", "Vogel", "Krämer", "Hoffmann"),
    "fr": ("Germain", "Lefèvre", "Moreau", "Châtelet", "Girard", "Dubois", "Renard", "Blanc"),
}
_Choice = TypeVar("_Choice")

_LOCALE_WEIGHTS = {"en": 55, "es": 25, "de": 10, "fr": 10}
_CHANNEL_WEIGHTS = {
    (Channel.EMAIL, Channel.IN_APP): 50,
    (Channel.IN_APP,): 30,
    (Channel.EMAIL,): 20,
}
_FLIGHTS_WEIGHTS = {1: 60, 2: 30, 3: 10}


@dataclass(frozen=True, slots=True, kw_only=True)
class Passenger:
    """Someone who wants to know."""

    id: str
    """Such as `p17`: the last part of the recipient's name and of the token's subject."""

    name: str

    locale: str
    """One of `LOCALES`."""

    zone: str
    """Name in the tz database."""

    email: str
    channels: tuple[Channel, ...]

    flights: tuple[str, ...]
    """Keys of the flights they follow, at least one, none twice."""


def passengers_of(day: Day, count: int = DEFAULT_PASSENGERS) -> tuple[Passenger, ...]:
    """
    The *count* passengers of *day*. The first ones stay the same whatever *count* is.

    Raises:
        ValueError: *count* is not in 1 to `PASSENGERS_MAX`.

    """
    if not 1 <= count <= PASSENGERS_MAX:
        raise ValueError(f"passengers must be from 1 to {PASSENGERS_MAX}, not {count}")
    return tuple(_passenger(f"p{number}", day) for number in range(1, count + 1))


def followers(passengers: Iterable[Passenger]) -> Counter[str]:
    """How many follow each flight, by the flight's key; flights nobody follows are absent."""
    return Counter(key for passenger in passengers for key in passenger.flights)


def _passenger(who: str, day: Day) -> Passenger:
    locale = _weighted(who, "locale", _LOCALE_WEIGHTS)
    given = _GIVEN[locale][chance(who, "given", len(_GIVEN[locale]))]
    family = _FAMILY[locale][chance(who, "family", len(_FAMILY[locale]))]
    legs = _weighted(who, "legs", _FLIGHTS_WEIGHTS)
    first = chance(who, "flight", len(day.flights))
    # Steps of a third of the day: someone who flies twice doesn't board twice at once.
    step = max(1, len(day.flights) // 3)
    chosen = (day.flights[(first + leg * step) % len(day.flights)].key for leg in range(legs))
    return Passenger(
        id=who,
        name=f"{given} {family}",
        locale=locale,
        zone=HOME_ZONE,
        email=f"{who}@example.{('com', 'net', 'org')[chance(who, 'domain', 3)]}",
        channels=_weighted(who, "channels", _CHANNEL_WEIGHTS),
        flights=tuple(dict.fromkeys(chosen)),
    )


def _weighted(who: str, purpose: str, weights: dict[_Choice, int]) -> _Choice:
    left = chance(who, purpose, sum(weights.values()))
    for choice, weight in weights.items():
        left -= weight
        if left < 0:
            return choice
    raise AssertionError("the weights sum up to more than any chance")
