"""
Prometheus's own scripts, eval by eval, against our evaluator.

What isn't supported stands in `unsupported.toml` by script, reason and line. An eval listed
there that passes fails the test just as one that fails and isn't listed: the table can only
shrink. `pytest --rewrite` writes it anew; read the diff.
"""

import functools
import tomllib
from pathlib import Path

import pytest

from tests.scenarios.telemetry_query.promqltest import SCRIPTS, Verdict, run


TABLE = Path(__file__).with_name("unsupported.toml")
FLOAT_EVALS_AT_LEAST = 1100
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


def reason(name: str, verdict: Verdict) -> str:
    if verdict.native:
        return "native_histograms"
    if "isn't supported" in verdict.complaint:
        function = verdict.complaint.split("()")[0].split(" ")[-1]
        return "native_histograms" if function.startswith("histogram_") else function
    if "invalid query" in verdict.complaint:
        return "unread_by_the_parser"
    return name


@pytest.mark.parametrize("name", NAMES)
def test_every_eval_passes_but_those_listed_as_unsupported(name: str, *, rewrite: bool) -> None:
    failed: dict[str, list[int]] = {}
    for verdict in verdicts(name):
        if verdict.complaint:
            failed.setdefault(reason(name, verdict), []).append(verdict.line)
    if rewrite:
        _write(name, failed)
    listed = tomllib.loads(TABLE.read_text(encoding="utf-8")).get(name, {})
    expected = {line for lines in listed.values() for line in lines}
    actual = {line for lines in failed.values() for line in lines}
    complaints = {v.line: f"{v.query}: {v.complaint}" for v in verdicts(name)}
    assert {line: complaints[line] for line in actual - expected} == {}
    assert {line: complaints[line] for line in expected - actual} == {}


def test_the_scripts_are_all_there() -> None:
    assert sorted(path.stem for path in SCRIPTS.glob("*.test")) == sorted(NAMES)


def test_nearly_all_evals_over_floats_pass() -> None:
    passed = sum(not v.native and not v.complaint for name in NAMES for v in verdicts(name))
    assert passed >= FLOAT_EVALS_AT_LEAST


def _write(name: str, failed: dict[str, list[int]]) -> None:
    table = tomllib.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    table[name] = dict(sorted(failed.items()))
    text = "# Evals of Prometheus's scripts that we can't answer yet: script, reason, lines.\n"
    for script, reasons in sorted(table.items()):
        if reasons:
            text += f"\n[{script}]\n"
        for why, lines in reasons.items():
            text += f"{why} = [ # {len(lines)}\n"
            for i in range(0, len(lines), 16):
                text += "  " + ", ".join(map(str, lines[i : i + 16])) + ",\n"
            text += "]\n"
    TABLE.write_text(text, encoding="utf-8")
