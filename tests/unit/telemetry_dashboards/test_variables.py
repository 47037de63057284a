import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.dashboards.variables import escaped, names_in, replaced, times


@pytest.mark.parametrize(
    ("query", "made"),
    [
        ('x{job="$job"}', 'x{job="edge"}'),
        ('x{job="${job}"}', 'x{job="edge"}'),
        ('x{job="[[job]]"}', 'x{job="edge"}'),
        ('x{host=~"$host"}', 'x{host=~"a\\\\.b|c"}'),
        ('x{host=~"${host:regex}"}', 'x{host=~"a\\\\.b|c"}'),
        ("rate(x[$__rate_interval])", "rate(x[1m])"),
        ("rate(x[$__interval])", "rate(x[15s])"),
        ("$unknown + ${other:x}", "$unknown + ${other:x}"),
        ('x{none=~"$none"}', 'x{none=~".*"}'),
    ],
)
def test_variables_are_replaced_as_grafana_has_them(query, made):
    chosen = {"job": ["edge"], "host": ["a.b", "c"], "none": []}

    assert replaced(query, chosen, times(15_000, 3_600_000), frozenset({"host", "none"})) == made


def test_a_quote_in_a_choice_does_not_end_the_text_it_stands_in():
    assert replaced('x{a="$a"}', {"a": ['"} or y{b="']}, {}, frozenset()) == (
        'x{a="\\"} or y{b=\\""}'
    )


@given(st.text(st.characters(codec="ascii", exclude_characters="\n"), max_size=20))
def test_a_choice_put_in_as_a_regular_expression_matches_itself_alone(text):
    inner = escaped(text).replace('\\"', '"').replace("\\\\", "\\")

    assert re.fullmatch(inner, text)
    assert not re.fullmatch(inner, text + "x")


def test_names_are_found_in_every_form():
    assert names_in("$a ${b:regex} [[c]] $__range") == {"a", "b", "c", "__range"}


@pytest.mark.parametrize(
    ("step_ms", "made"),
    [(1_000, "1m"), (60_000, "75s"), (300_000, "5m"), (10_800_000, "3h"), (450_000, "465s")],
)
def test_windows_of_rates_are_whole_where_the_step_is(step_ms, made):
    assert times(step_ms, 3_600_000)["__rate_interval"] == made
