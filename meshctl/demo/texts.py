"""
What passengers are told, in their languages: Liquid sources of the tenant's templates.

Variables, all of them always there: `flight`, `airline`, `origin`, `destination`, `date`, `gate`,
`scheduled`, `expected`, `delay`, `landed`. Times are local to the airport they are about.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshctl.demo.passengers import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a template says over one channel in one language."""

    channel: str
    locale: str
    subject: str
    text: str
    html: str


TEXTS: dict[str, dict[str, tuple[str, str]]] = {
    "flight-gate": {
        "en": (
            "{{ flight }}: gate {{ gate }}",
            "Your flight {{ flight }} to {{ destination }} leaves {{ origin }} from gate {{ gate }} at {{ expected }}.",
        ),
        "es": (
            "{{ flight }}: puerta {{ gate }}",
            "Su vuelo {{ flight }} a {{ destination }} sale de {{ origin }} por la puerta {{ gate }} a las {{ expected }}.",
        ),
        "de": (
            "{{ flight }}: Gate {{ gate }}",
            "Ihr Flug {{ flight }} nach {{ destination }} startet um {{ expected }} Uhr in {{ origin }} an Gate {{ gate }}.",
        ),
        "fr": (
            "{{ flight }} : porte {{ gate }}",
            "Votre vol {{ flight }} pour {{ destination }} part de {{ origin }}, porte {{ gate }}, à {{ expected }}.",
        ),
    },
    "flight-delayed": {
        "en": (
            "{{ flight }} is delayed: now {{ expected }}",
            "Your flight {{ flight }} to {{ destination }} is {{ delay }} late. It now leaves at {{ expected }} instead of {{ scheduled }}.",
        ),
        "es": (
            "{{ flight }} con retraso: ahora a las {{ expected }}",
            "Su vuelo {{ flight }} a {{ destination }} lleva {{ delay }} de retraso. Ahora sale a las {{ expected }} en vez de las {{ scheduled }}.",
        ),
        "de": (
            "{{ flight }} verspätet: jetzt {{ expected }} Uhr",
            "Ihr Flug {{ flight }} nach {{ destination }} ist {{ delay }} verspätet. Neue Abflugzeit: {{ expected }} statt {{ scheduled }} Uhr.",
        ),
        "fr": (
            "{{ flight }} retardé : départ à {{ expected }}",
            "Votre vol {{ flight }} pour {{ destination }} a {{ delay }} de retard. Il part à {{ expected }} au lieu de {{ scheduled }}.",
        ),
    },
    "flight-boarding": {
        "en": (
            "{{ flight }} is boarding at gate {{ gate }}",
            "Please go to gate {{ gate }}: {{ flight }} to {{ destination }} is boarding and leaves at {{ expected }}.",
        ),
        "es": (
            "{{ flight }}: embarque en la puerta {{ gate }}",
            "Diríjase a la puerta {{ gate }}: el vuelo {{ flight }} a {{ destination }} está embarcando y sale a las {{ expected }}.",
        ),
        "de": (
            "{{ flight }}: Einsteigen an Gate {{ gate }}",
            "Bitte gehen Sie zu Gate {{ gate }}: {{ flight }} nach {{ destination }} steigt ein und startet um {{ expected }} Uhr.",
        ),
        "fr": (
            "{{ flight }} : embarquement porte {{ gate }}",
            "Rendez-vous porte {{ gate }} : le vol {{ flight }} pour {{ destination }} embarque et part à {{ expected }}.",
        ),
    },
    "flight-departed": {
        "en": (
            "{{ flight }} has departed",
            "{{ flight }} to {{ destination }} left {{ origin }} at {{ expected }}. Have a good flight.",
        ),
        "es": (
            "{{ flight }} ha salido",
            "{{ flight }} a {{ destination }} salió de {{ origin }} a las {{ expected }}. Buen viaje.",
        ),
        "de": (
            "{{ flight }} ist gestartet",
            "{{ flight }} nach {{ destination }} ist um {{ expected }} Uhr in {{ origin }} gestartet. Guten Flug.",
        ),
        "fr": (
            "{{ flight }} est parti",
            "{{ flight }} pour {{ destination }} a quitté {{ origin }} à {{ expected }}. Bon vol.",
        ),
    },
    "flight-cancelled": {
        "en": (
            "{{ flight }} is cancelled",
            "We are sorry: {{ flight }} to {{ destination }}, planned for {{ scheduled }}, is cancelled. {{ airline }} will rebook you at its desk.",
        ),
        "es": (
            "{{ flight }} cancelado",
            "Lo sentimos: {{ flight }} a {{ destination }}, previsto a las {{ scheduled }}, está cancelado. {{ airline }} le ofrecerá otro vuelo en su mostrador.",
        ),
        "de": (
            "{{ flight }} ist gestrichen",
            "Es tut uns leid: {{ flight }} nach {{ destination }}, geplant um {{ scheduled }} Uhr, fällt aus. {{ airline }} bucht Sie am Schalter um.",
        ),
        "fr": (
            "{{ flight }} est annulé",
            "Nous sommes désolés : {{ flight }} pour {{ destination }}, prévu à {{ scheduled }}, est annulé. {{ airline }} vous proposera un autre vol à son comptoir.",
        ),
    },
    "flight-arrived": {
        "en": (
            "Welcome to {{ destination }}",
            "{{ flight }} has arrived in {{ destination }} at {{ landed }}, local time.",
        ),
        "es": (
            "Bienvenidos a {{ destination }}",
            "{{ flight }} ha llegado a {{ destination }} a las {{ landed }}, hora local.",
        ),
        "de": (
            "Willkommen in {{ destination }}",
            "{{ flight }} ist um {{ landed }} Uhr Ortszeit in {{ destination }} angekommen.",
        ),
        "fr": (
            "Bienvenue à {{ destination }}",
            "{{ flight }} est arrivé à {{ destination }} à {{ landed }}, heure locale.",
        ),
    },
    "flight-diverted": {
        "en": (
            "{{ flight }} is diverted",
            "{{ flight }} can't land in {{ destination }} and goes to another airport. {{ airline }} will tell you how you travel on.",
        ),
        "es": (
            "{{ flight }} desviado",
            "{{ flight }} no puede aterrizar en {{ destination }} y va a otro aeropuerto. {{ airline }} le dirá cómo seguir su viaje.",
        ),
        "de": (
            "{{ flight }} wird umgeleitet",
            "{{ flight }} kann nicht in {{ destination }} landen und fliegt einen anderen Flughafen an. {{ airline }} sagt Ihnen, wie es weitergeht.",
        ),
        "fr": (
            "{{ flight }} est dérouté",
            "{{ flight }} ne peut pas atterrir à {{ destination }} et rejoint un autre aéroport. {{ airline }} vous dira comment continuer.",
        ),
    },
}
"""Template id to locale to headline and sentence."""

_LETTERS = {
    "en": ("Dear {{ recipient.display_name }},", "Your airport"),
    "es": ("Hola, {{ recipient.display_name }}:", "Su aeropuerto"),
    "de": ("Guten Tag {{ recipient.display_name }},", "Ihr Flughafen"),
    "fr": ("Bonjour {{ recipient.display_name }},", "Votre aéroport"),
}
"""How a mail begins and ends."""


def contents(template: str) -> tuple[Content, ...]:
    """What *template* says: in the app its sentence, by mail a letter around it."""
    found = []
    for locale, (subject, sentence) in TEXTS[template].items():
        greeting, closing = _LETTERS[locale]
        found.append(
            Content(channel=Channel.IN_APP, locale=locale, subject=subject, text=sentence, html="")
        )
        found.append(
            Content(
                channel=Channel.EMAIL,
                locale=locale,
                subject=subject,
                text=f"{greeting}\n\n{sentence}\n\n{closing}\n",
                html=f"<p>{greeting}</p><p>{sentence}</p><p>{closing}</p>",
            )
        )
    return tuple(found)
