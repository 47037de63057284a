"""The day's texts in the notifier's own renderer."""

import pytest

from meshctl.demo.notices import variables_of
from meshctl.demo.passengers import LOCALES, Channel
from meshctl.demo.replay import Replay
from meshctl.demo.texts import TEXTS, contents
from meshctl.demo.timeline import Kind, events_of
from notifier.model import Content, Template
from notifier.render import Renderer, choose
from tests.fixtures.day import small_day


@pytest.fixture(scope="module")
def delayed():
    day = small_day()
    played = Replay(day=day, events=events_of(day), loops=1).occurrences()
    return variables_of(
        [o for o in played if o.event.kind is Kind.DELAYED and o.event.flight.key == "dl3-lga"][-1]
    )


def template_of(name):
    return Template(
        id=name,
        version=1,
        default_locale="en",
        contents=tuple(
            Content(
                channel=c.channel,
                locale=c.locale,
                subject=c.subject,
                text=c.text,
                html=c.html,
                action_url="",
            )
            for c in contents(name)
        ),
    )


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_renders_with_the_variables_of_every_notice(name, delayed):
    values = {**delayed, "recipient": {"display_name": "Zoé <Girard>"}}
    template = template_of(name)

    for locale in LOCALES:
        for channel in Channel:
            content = choose(template, channel.value, locale)
            made = Renderer().render("nyc", template, content, values)

            assert made.locale == locale
            assert "DL 3" in made.subject + made.text
            assert "{{" not in made.subject + made.text + made.html
            assert "<Girard>" not in made.html


def test_a_delay_reads_well(delayed):
    template = template_of("flight-delayed")

    made = Renderer().render("nyc", template, choose(template, "inapp", "de"), delayed)

    assert made.subject == "DL 3 verspätet: jetzt 17:00 Uhr"
    assert made.text == (
        "Ihr Flug DL 3 nach Boston ist 4 h verspätet. Neue Abflugzeit: 17:00 statt 13:00 Uhr."
    )
