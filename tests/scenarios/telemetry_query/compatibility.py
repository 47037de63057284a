"""The page that says which of Prometheus's evals we answer as it does."""

from collections.abc import Iterable, Mapping, Sequence

from telemetry.promql.functions.table import FUNCTIONS
from telemetry.promql.lex import AGGREGATORS
from tests.scenarios.telemetry_query.promqltest import Verdict


HEAD = """# PromQL: compatibility

Made by running Prometheus's own test scripts (prometheus/prometheus d15adb9ad7, `promql/promqltest/testdata`) against this evaluator: `pytest tests/scenarios/telemetry_query --rewrite`. A test fails when this page isn't what running them gives.

An eval passes when its values (to 1 part in a million, as in Prometheus's runner), labels, order, errors, warnings and remarks with their places in the text are the ones the script wants; an instant query is asked once more as the middle of a range. An eval is counted as one of native histograms when it read or should give one.

All syntax and functions that Prometheus has behind feature flags are on: `promql-experimental-functions`, `promql-duration-expr`, `promql-extended-range-selectors`, `promql-binop-fill-modifiers`, start timestamps, delayed name removal.
"""


def page(verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """Return the page as Markdown."""
    every = [v for found in verdicts.values() for v in found]
    lines = [HEAD]
    lines += ["| script | floats | native histograms |", "| --- | --- | --- |"]
    for name, found in sorted(verdicts.items()):
        lines.append(f"| `{name}` | {_share(found, native=False)} | {_share(found, native=True)} |")
    lines += [f"| all | {_share(every, native=False)} | {_share(every, native=True)} |", ""]
    lines += ["## Evals that don't pass", ""]
    failed = [
        f"- `{name}` line {v.line}: `{v.query}`: {v.complaint}"
        for name, found in sorted(verdicts.items())
        for v in found
        if v.complaint
    ]
    lines += failed or ["None, and none is skipped."]
    lines += ["", "## Functions", "", _listed(FUNCTIONS), ""]
    lines += ["## Aggregations", "", _listed(AGGREGATORS), ""]
    return "\n".join(lines)


def _share(verdicts: Iterable[Verdict], *, native: bool) -> str:
    chosen = [v for v in verdicts if v.native == native]
    if not chosen:
        return ""
    return f"{sum(not v.complaint for v in chosen)} of {len(chosen)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
