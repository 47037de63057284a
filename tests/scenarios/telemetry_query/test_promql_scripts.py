"""
Prometheus's own scripts, eval by eval, against our evaluator; and the page about it.

`docs/specs/promql-compatibility.md` is what running them gives: `pytest --rewrite` writes it.
"""

import functools
from pathlib import Path

import pytest

from tests.scenarios.telemetry_query import compatibility
from tests.scenarios.telemetry_query.promqltest import SCRIPTS, Verdict, run


# The first run on a machine compiles.
pytestmark = pytest.mark.timeout(300)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "specs" / "promql-compatibility.md"
FLOAT_EVALS_AT_LEAST = 900
NAMES = (
    "aggregators",
    "at_modifier",
    "collision",
    "duration_expression",
    "extended_vectors",
    "fill-modifier",
    "functions",
    "histograms",
    "info",
    "limit",
    "literals",
    "name_label_dropping",
    "native_histograms",
    "operators",
    "range_queries",
    "selectors",
    "staleness",
    "start_timestamps",
    "subquery",
    "trig_functions",
    "type_and_unit",
)


@functools.cache
def verdicts(name: str) -> tuple[Verdict, ...]:
    return tuple(run(SCRIPTS / f"{name}.test"))


@pytest.mark.parametrize("name", NAMES)
def test_every_eval_passes(name: str) -> None:
    assert {v.line: f"{v.query}: {v.complaint}" for v in verdicts(name) if v.complaint} == {}


def test_the_scripts_are_all_there() -> None:
    assert sorted(path.stem for path in SCRIPTS.glob("*.test")) == sorted(NAMES)


def test_evals_over_floats_and_over_histograms_are_both_many() -> None:
    everything = [v for name in NAMES for v in verdicts(name)]
    assert sum(not v.native for v in everything) >= FLOAT_EVALS_AT_LEAST
    assert sum(v.native for v in everything) >= FLOAT_EVALS_AT_LEAST // 2


def test_the_page_about_compatibility_is_what_running_the_scripts_gives(*, rewrite: bool) -> None:
    page = compatibility.page({name: verdicts(name) for name in NAMES})
    if rewrite:
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page
