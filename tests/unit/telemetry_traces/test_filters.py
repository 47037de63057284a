"""Filters: what is read is what was meant, and no text of theirs becomes SQL."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import InvalidInput
from telemetry.filters.fields import LOGS, SPANS
from telemetry.filters.model import Comparison, Every, Line, LineOp, Op, Some
from telemetry.filters.parse import parse
from telemetry.filters.sql import condition


LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_the_language_reads_as_it_is_documented():
    text = '{service="edge"} |= "up" != "health" |~ `t\\d` | a="v" | severity>=WARN or b>1.5,c!~x'
    assert parse(text, LOGS) == Every(
        (
            Comparison("service", Op.EQUAL, "edge"),
            Line(LineOp.CONTAINS, "up"),
            Line(LineOp.CONTAINS_NOT, "health"),
            Line(LineOp.MATCHES, "t\\d"),
            Comparison("a", Op.EQUAL, "v"),
            Some(
                (
                    Comparison("severity", Op.GREATER_EQUAL, 13.0),
                    Every((Comparison("b", Op.GREATER, 1.5), Comparison("c", Op.NOT_REGEX, "x"))),
                )
            ),
        )
    )


def test_an_empty_filter_lets_all_through():
    for text in ("", "  ", "{}"):
        assert condition(parse(text, LOGS), LOGS) == "1"


def test_lengths_of_time_are_nanoseconds():
    assert parse("| duration>1m1.5s", SPANS) == Comparison("duration", Op.GREATER, 61.5e9)


@given(st.text(max_size=200).filter(lambda text: len(text.encode(errors="ignore")) < 800))
def test_a_text_in_quotes_is_that_text(text):
    text = text.encode(errors="ignore").decode()
    assert parse(f"|= {quoted(text)}", LOGS) == Line(LineOp.CONTAINS, text)
    assert parse(f"{{a={quoted(text)}}}", LOGS) == Comparison("a", Op.EQUAL, text)


@given(st.text(), st.text(min_size=1), st.sampled_from(Op), st.sampled_from(LineOp))
def test_no_text_gets_out_of_its_literal(text, key, op, line_op):
    """What stands between the literals doesn't depend on the texts."""

    def shape(text, key):
        made = Every((Comparison(key, op, text), Line(line_op, text), Comparison(key, op, 1.0)))
        return re.sub(r"\(''(?:, '')?\)", "('')", LITERAL.sub("''", condition(made, LOGS)))

    assert shape(text, f"x{key}") == shape("plain", "xy")


@given(st.text(alphabet='{}()|=!~<>,"`abc1.\\ \n', max_size=40))
def test_whatever_is_typed_is_read_or_refused(text):
    with contextlib.suppress(InvalidInput):
        assert condition(parse(text, LOGS), LOGS)


@pytest.mark.parametrize(
    "text",
    [
        "|= " + quoted("x" * 5000),
        "| " + " or ".join(["a=b"] * 65),
        "|~ " + quoted("a" * 1025),
        '|~ "((a{1000}){1000})"',
        '|~ "a)(b"',
        "| severity=~error",
        "| severity>=loud",
        "| a>b",
        "|= word",
        "{a=b",
        "| a=b |",
        "extra",
        '| a="no end',
        "| =b",
        '| ""=b',
    ],
)
def test_what_cannot_be_meant_is_refused(text):
    with pytest.raises(InvalidInput) as caught:
        parse(text, LOGS)
    assert caught.value.reason == "FILTER_INVALID"
