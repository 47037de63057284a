"""Reading queries: whatever the text, there is a tree or an error of the caller's."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.errors import InvalidInput
from telemetry.promql import nodes
from telemetry.promql.limits import QueryLimits
from telemetry.promql.matchers import Matcher, MatchOp
from telemetry.promql.parse import parse, pretty


LIMITS = QueryLimits()
PIECES = st.sampled_from(
    [
        "x",
        "sum",
        "rate",
        "by",
        "on",
        "ignoring",
        "group_left",
        "bool",
        "offset",
        "@",
        "start()",
        "end()",
        "(",
        ")",
        "[5m]",
        "[5m:1m]",
        "[0s]",
        "{",
        "}",
        'a="b"',
        'a=~"("',
        'a=~".*"',
        ",",
        "+",
        "-",
        "^",
        "==",
        "and",
        "or",
        "unless",
        "1",
        "-1",
        "1e999",
        "5m",
        "NaN",
        '"s"',
        "'",
        "#",
        "\\",
        "\u00e9",
        "\x00",
        " ",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14))
def test_any_text_is_read_or_refused(pieces):
    with contextlib.suppress(InvalidInput):
        tree = parse(" ".join(pieces), LIMITS)
        assert isinstance(tree, nodes.Node)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_characters_are_read_or_refused(text):
    with contextlib.suppress(InvalidInput):
        assert isinstance(parse(text, LIMITS), nodes.Node)


def test_a_selector_has_its_matchers_and_its_time():
    tree = parse('up{job!="a", x=~"b|c"} @ 12.5 offset -1m', LIMITS)
    assert isinstance(tree, nodes.Selector)
    assert set(tree.selection[0]) == {
        Matcher("__name__", MatchOp.EQUAL, "up"),
        Matcher("job", MatchOp.NOT_EQUAL, "a"),
        Matcher("x", MatchOp.REGEX, "b|c"),
    }
    assert tree.when == nodes.When(offset_ms=-60_000, at=12_500)


def test_alternatives_each_have_all_their_matchers():
    tree = parse('up{job="a", x="1" or job="b"}', LIMITS)
    assert isinstance(tree, nodes.Selector)
    assert [len(group) for group in tree.selection] == [3, 2]


def test_unary_minus_binds_weaker_than_power():
    tree = parse("-1 ^ 2", LIMITS)
    assert isinstance(tree, nodes.Negate)


def test_an_operator_has_its_matching():
    tree = parse("a / on(x) group_left(y) fill_left(3) b", LIMITS)
    assert isinstance(tree, nodes.Binary)
    assert tree.matching == nodes.Matching(
        card=nodes.Card.MANY_TO_ONE,
        on=True,
        names=frozenset({"x"}),
        include=("y",),
        fill_left=3.0,
        fill_right=None,
    )


@pytest.mark.parametrize("text", ["sum(x)by(a)", "rate(x[5m])", "x offset 5m"])
def test_a_formatted_query_means_the_same(text):
    assert parse(pretty(text, LIMITS), LIMITS) == parse(text, LIMITS)
