"""Templates are data: what they may do, and what they can't."""

import time

import pytest

from notifier.model import Content, Template
from notifier.render import Renderer, RenderFailed, choose


BOUND_S = 5.0
"""CPU time: what isn't stopped takes minutes; collecting a long session's garbage, half a second."""


def render(text: str = "", html: str = "", subject: str = "", action_url: str = "", **values):
    content = Content(
        channel="email", locale="en", text=text, html=html, subject=subject, action_url=action_url
    )
    template = Template(id="t", default_locale="en", contents=(content,), version=1)
    return Renderer().render("t", template, content, values)


def test_values_and_filters_are_rendered():
    made = render("{{ a | upcase }} {% for x in xs %}{{ x.n }}{% endfor %}", a="b", xs=[{"n": 1}])

    assert made.text == "B 1"


def test_a_missing_value_fails_except_where_it_is_asked_for():
    with pytest.raises(RenderFailed, match="gate"):
        render("{{ gate }}")

    assert render("{% if gate %}x{% endif %}{{ gate | default: 'none' }}").text == "none"


def test_html_is_escaped_and_text_is_not():
    made = render("{{ a }}", html="{{ a }}{{ a | upcase }}{{ a | append: '<' }}", a="<b>&")

    assert made.text == "<b>&"
    assert "<b>" not in made.html
    assert "<B>" not in made.html


def test_a_subject_is_one_line():
    assert render(subject="{{ a }}", a="x\r\nBcc: y\u2028z").subject == "x Bcc: y z"


@pytest.mark.parametrize("url", ["https://example.org/a?b=c", "/boarding/1", ""])
def test_a_tap_leads_to_https_or_into_the_app(url):
    assert render(action_url="{{ u }}", u=url).action_url == url


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "http://x", "//evil.example", "https://a b", 'https://a"b', "data:,"],
)
def test_a_tap_leads_nowhere_else(url):
    with pytest.raises(RenderFailed, match="action_url"):
        render(action_url="{{ u }}", u=url)


def test_times_are_told_in_the_recipients_zone():
    made = render(
        '{{ t | date: "%H:%M" }} {{ t | date: "%H:%M", "UTC" }}',
        t="2013-01-01T10:00:00Z",
        recipient={"time_zone": "America/New_York"},
    )

    assert made.text == "05:00 10:00"


HOSTILE = {
    "attribute": "{{ name.__class__ }}",
    "attribute by index": "{{ name['__class__'] }}",
    "method": "{{ xs.append }}",
    "include": "{% include 'x' %}",
    "render tag": "{% render 'x' %}",
    "safe": "{{ name | safe }}",
    "unknown filter": "{{ name | system }}",
    "long loop": "{% for i in (1..51) %}{{ i }}{% endfor %}",
    "nested loops": "{% for i in (1..10) %}{% for j in (1..10) %}{% endfor %}{% endfor %}",
    "endless range": "{% for i in (1..1000000000000) %}{% endfor %}",
    "range elsewhere": "{% assign x = (1..1000000000000) %}{% if x contains 'a' %}{% endif %}",
    "range to a filter": "{{ (1..1000000000000) | join: ',' }}",
    "replace": "{{ big | replace: 'a', big }}",
    "replace nothing": "{{ big | replace: '', big }}",
    "join": "{{ list | join: big }}",
    "doubling": "{% assign x = big %}{% for i in (1..40) %}{% assign x = x | append: x %}{% endfor %}",
    "squaring": "{% assign x = 99 %}{% for i in (1..40) %}{% assign x = x | times: x %}{% endfor %}",
    "list doubling": "{% for i in (1..40) %}{% assign list = list | concat: list %}{% endfor %}",
    "wide date": '{{ "2013-01-01" | date: "%999999999d" }}',
    "odd zone": '{{ "2013-01-01" | date: "%H", "../../etc/passwd" }}',
    "much output": "{% for i in (1..50) %}{{ big }}{% endfor %}",
    "deep": "{% if a %}" * 60 + "{% endif %}" * 60,
    "deep path": "{{ a" + "[a" * 3000 + "]" * 3000 + " }}",
    "many steps": "{{ a }}" * 401,
    "division": "{{ 1 | divided_by: 0 }}",
    "broken": "{{ a | }}",
    "unclosed": "{% if a %}",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_is_stopped_soon(source):
    started = time.thread_time()
    with pytest.raises(RenderFailed) as failed:
        render(source, name="x", a="a", big="a" * 8_000, list=["a"] * 1_000, xs=[1])

    assert time.thread_time() - started < BOUND_S
    assert len(str(failed.value)) < 300


@pytest.mark.parametrize(
    ("locale", "found"),
    [
        ("tr", "tr"),
        ("tr-CY", "tr"),
        ("tr-Latn-CY", "tr"),
        ("pt-br", "pt-BR"),
        ("pt", "en"),
        ("pt-PT", "en"),
        ("", "en"),
        ("de", "en"),
    ],
)
def test_the_nearest_language_is_chosen(locale, found):
    template = Template(
        id="t",
        default_locale="en",
        contents=tuple(
            Content(channel="email", locale=one, text="x") for one in ("en", "tr", "pt-BR")
        ),
    )

    chosen = choose(template, "email", locale)

    assert chosen is not None
    assert chosen.locale == found
    assert choose(template, "inapp", locale) is None
