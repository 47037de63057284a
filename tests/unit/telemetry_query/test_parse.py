"""Reading queries: whatever the text, there is a tree or an error of the caller's."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.errors import InvalidInput
from telemetry.promql import nodes
from telemetry.promql.durations import resolved
from telemetry.promql.limits import QueryLimits
from telemetry.promql.matchers import Matcher, MatchOp
from telemetry.promql.parse import parse
from telemetry.promql.printing import pretty
from telemetry.promql.printing import text as print_query


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
    assert tree.when == nodes.When(offset=-60_000, at=12_500)


def test_alternatives_each_have_all_their_matchers():
    tree = parse('up{job="a", x="1" or job="b"}', LIMITS)
    assert isinstance(tree, nodes.Selector)
    assert [len(group) for group in tree.selection] == [3, 2]


def test_unary_minus_binds_weaker_than_power():
    tree = parse("-1 ^ 2", LIMITS)
    assert isinstance(tree, nodes.Unary)


def test_an_operator_has_its_matching():
    tree = parse("a / on(x) group_left(y) fill_left(3) b", LIMITS)
    assert isinstance(tree, nodes.Binary)
    assert tree.matching == nodes.Matching(
        card=nodes.Card.MANY_TO_ONE,
        on=True,
        names=("x",),
        include=("y",),
        fill_left=3.0,
        fill_right=None,
    )


@pytest.mark.parametrize("text", ["sum(x)by(a)", "rate(x[5m])", "x offset 5m"])
def test_a_formatted_query_means_the_same(text):
    assert parse(pretty(parse(text, LIMITS)), LIMITS) == parse(text, LIMITS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "1:1: parse error: no expression found in input"),
        ("x{a=}", '1:5: parse error: unexpected "}" in label matching, expected string'),
        ("rate(x)", "1:6: parse error: expected type range vector in call to function"),
        ("a +\n  nosuch(b)", '2:3: parse error: unknown function with name "nosuch"'),
        ("1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("sum(x", "1:6: parse error: unclosed left parenthesis"),
        ("x[0s]", "1:3: parse error: duration must be greater than 0"),
        ("x offset 1h offset 1h", "1:1: parse error: offset may not be set multiple times"),
        ("sum(x) @ 5", "1:1: parse error: @ modifier must be preceded by"),
        ("topk(x)", "1:1: parse error: wrong number of arguments for aggregate expression"),
        ('{a=~".*"}', "1:1: parse error: vector selector must contain at least one non-empty"),
        ("a and on(x) group_left() b", '1:1: parse error: no grouping allowed for "and"'),
        ("x[5m]]", "1:6: parse error: unexpected right bracket"),
        ("5mm", '1:1: parse error: bad number or duration syntax: "5mm"'),
        ("label_join(x, 1)", "1:1: parse error: expected at least 3 argument"),
        ("pi(1)", '1:1: parse error: expected 0 argument(s) in call to "pi", got 1'),
        ("x[1h/0]", "1:5: parse error: division by zero"),
        ("x anchored smoothed", "1:1: parse error: anchored and smoothed"),
        ("max_over_time(x[5m] anchored)", "anchored modifier can only be used with"),
    ],
)
def test_a_complaint_begins_with_its_place(text, complaint):
    with pytest.raises(InvalidInput) as caught:
        parse(text, LIMITS)
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('sum(x)by(a,"b.c")', 'sum by (a, "b.c") (x)'),
        ("sum without() (x)", "sum without () (x)"),
        ('{job="a",__name__="x"}', '{__name__="x",job="a"}'),
        ('x{b!~"c",a="1"}[90s]offset -1h@start()', 'x{a="1",b!~"c"}[1m30s] @ start() offset -1h'),
        ("a/on(x)group_left(y)fill_left(3)b", "a / on (x) group_left (y) fill_left (3) b"),
        ("a ==bool fill(0) b", "a == bool fill (0) b"),
        ("(a+b)*-c^2", "(a + b) * -c ^ 2"),
        ("x[2*(step()+1m):min_of(5,range())]", "x[2 * (step() + 1m):min_of(5, range())]"),
        ("x[5m]smoothed offset (1h/2)", "x[5m] smoothed offset (1h / 2)"),
        ("x smoothed", "x smoothed"),
        ("topk(3,x)", "topk(3, x)"),
        ("0x1F + 1e3 + .5 + Inf + 1d", "31 + 1000 + 0.5 + +Inf + 1d"),
        ("'a\\n\\x41\"'", '"a\\nA\\""'),
        ('x{a="1" or b="2"}', 'x{a="1" or b="2"}'),
        ("h </ 0.5", "h </ 0.5"),
    ],
)
def test_a_query_is_printed_as_prometheus_prints_it(text, printed):
    assert print_query(parse(text, LIMITS)) == printed
    assert print_query(parse(printed, LIMITS)) == printed


def test_a_long_query_is_laid_out():
    query = (
        f"sum by (job) (rate({'x' * 60}[5m])) / on (job) group_left () sum by (job) (y{{a='b'}})"
    )
    assert pretty(parse(query, LIMITS)) == (
        "  sum by (job) (rate(" + "x" * 60 + "[5m]))\n"
        "/ on (job) group_left ()\n"
        '  sum by (job) (y{a="b"})'
    )


def test_durations_may_depend_on_the_query():
    tree = parse("x[2 * step() + 1m] offset -range()", LIMITS)
    assert isinstance(tree, nodes.Range)
    assert resolved(tree.length, step_ms=15_000, range_ms=0) == 90_000
    assert resolved(tree.selector.when.offset, step_ms=0, range_ms=3_600_000) == -3_600_000


def test_what_a_query_looks_at_may_be_before_1970():
    tree = parse("x @ -5.0005", LIMITS)
    assert isinstance(tree, nodes.Selector)
    assert tree.when.at == -5_001


def test_words_of_the_language_may_name_metrics_and_labels():
    tree = parse("sum by (by, offset) (offset offset 5m) + step + start{end='1'}", LIMITS)
    assert isinstance(tree, nodes.Binary)
    assert print_query(tree) == ('sum by (by, offset) (offset offset 5m) + step + start{end="1"}')
