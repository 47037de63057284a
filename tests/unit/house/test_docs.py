"""
What exists is documented: settings, error reasons and metrics, read from the code itself.

`pytest tests/unit/house/test_docs.py --rewrite` writes the tables anew; read the diff.
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from datetime import timedelta
from pathlib import Path

from meshkit import errors, status
from meshkit.settings import MeshSettings


ROOT = Path(__file__).parent.parent.parent.parent
PACKAGES = ("gateway", "meshctl", "meshkit", "notifier", "syncd", "telemetry")
SOURCES = [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]

SETTINGS = {
    "GATEWAY": "gateway.settings",
    "RELAY": "gateway.relay.settings",
    "NOTIFIER": "notifier.settings",
    "SYNCD": "syncd.settings",
    "TELEMETRY": "telemetry.settings",
    "DEADMAN": "telemetry.deadman.settings",
    "FLIGHTINFO": "meshctl.demo.settings:FlightinfoSettings",
    "DEVICES": "meshctl.demo.settings:DevicesSettings",
    "MAILSINK": "meshctl.demo.settings:MailsinkSettings",
}
INSTRUMENTS = {
    "create_counter": "counter",
    "create_up_down_counter": "up-down counter",
    "create_histogram": "histogram",
    "create_gauge": "gauge",
    "create_observable_gauge": "gauge",
    "create_observable_counter": "counter",
    "create_observable_up_down_counter": "up-down counter",
    "ExportedCounter": "counter",
    "ExportedHistogram": "histogram",
}


def agree(path, text, rewrite):
    if rewrite:
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} is stale: see this module's docstring"


def settings_class(where):
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name or "Settings")


def docs_of_fields(kind):
    """Field to the string below it, for the fields that *kind* itself declares."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    docs = {}
    for statement, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            said = after.value.value if isinstance(after, ast.Expr) else ""
            docs[statement.target.id] = " ".join(str(said).split())
    return docs


def shown(field):
    if field.default is dataclasses.MISSING:
        return "required" if field.default_factory is dataclasses.MISSING else ""
    value = field.default
    if isinstance(value, timedelta):
        return f"`{value.total_seconds():g}`"
    return "" if value in ("", None) else f"`{value}`"


def table_of(prefix, kind, owner):
    docs = docs_of_fields(owner)
    rows = ["| variable | default | |", "| --- | --- | --- |"]
    for field in dataclasses.fields(kind):
        if field.name in docs:
            assert docs[field.name], f"{owner.__module__}.{field.name} has no docstring"
            rows.append(
                f"| `{prefix}_{field.name.upper()}` | {shown(field)} | {docs[field.name]} |"
            )
    return "\n".join(rows)


def configuration():
    parts = [
        "# Configuration",
        "Every process reads its settings once, at start, from the environment; durations are in "
        "seconds.\nA misspelt variable is an error, and all problems are told at once: "
        "`python -m <service> check-config` exits with 78 if there is one.",
        "## Every process",
        "With the process's own prefix instead of `MESH`:",
        table_of("MESH", MeshSettings, MeshSettings),
    ]
    for prefix, where in SETTINGS.items():
        kind = settings_class(where)
        parts += [f"## `{prefix}_`", table_of(prefix, kind, kind)]
    return "\n\n".join(parts) + "\n"


def called(node):
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def text_of(node):
    """The text of a string literal; changing parts of an f-string as `…`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
    return ""


KINDS = {kind.__name__: code.name for kind, code in status.CODES.items()}
TELLING = re.compile(rf"\b(?:{'|'.join([*KINDS, *INSTRUMENTS])})\(")


@functools.cache
def telling_calls():
    """Calls that raise an error or make an instrument, each with the package it is in."""
    return [
        (path.relative_to(ROOT).parts[0], node)
        for path in SOURCES
        if TELLING.search(text := path.read_text())  # parsing is what takes long
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and node.args and called(node) in KINDS | INSTRUMENTS
    ]


@functools.cache
def reasons():
    """Reason to the codes and messages it is raised with."""
    found = {}
    for owner, node in telling_calls():
        reason = node.args[0]
        if called(node) not in KINDS:
            continue
        if isinstance(reason, ast.Constant) and isinstance(reason.value, str):
            message = text_of(node.args[1]) if len(node.args) > 1 else ""
            found.setdefault(reason.value, []).append((KINDS[called(node)], message, owner))
    return found


def errors_page():
    rows = ["| reason | code | from | says |", "| --- | --- | --- | --- |"]
    for reason, entries in sorted(reasons().items()):
        codes = ", ".join(sorted({f"`{code}`" for code, _, _ in entries}))
        owners = ", ".join(sorted({owner for _, _, owner in entries}))
        message = next((m for _, m, _ in entries if m), "")
        rows.append(f"| `{reason}` | {codes} | {owners} | {message.replace('|', '/')} |")
    return (
        "\n\n".join(
            [
                "# Errors",
                "Every refusal carries a `google.rpc.ErrorInfo` with the domain `aerofusion` and one of "
                "these reasons; they never change once released.\nWhat to do follows from the code:",
                "| code | do |\n| --- | --- |\n"
                "| `INVALID_ARGUMENT` | fix the request; `BadRequest` names the fields |\n"
                "| `UNAUTHENTICATED` | fix the credentials |\n"
                "| `PERMISSION_DENIED` | give up, or ask an operator |\n"
                "| `NOT_FOUND`, `ALREADY_EXISTS` | fix the name |\n"
                "| `FAILED_PRECONDITION` | change the state first |\n"
                "| `ABORTED` | read again, then repeat |\n"
                "| `RESOURCE_EXHAUSTED`, `UNAVAILABLE` | wait as long as `RetryInfo` says, then repeat "
                "with the same `request_id` |\n"
                "| `INTERNAL` | report it; the text stays in our logs, with the trace |",
                "\n".join(rows),
            ]
        )
        + "\n"
    )


def instruments():
    found = {}
    for owner, node in telling_calls():
        if called(node) in INSTRUMENTS:
            words = {word.arg: text_of(word.value) for word in node.keywords}
            found[text_of(node.args[0])] = (
                INSTRUMENTS[called(node)],
                words.get("unit", ""),
                words.get("description", ""),
                owner,
            )
    return found


def metrics_page():
    rows = ["| metric | kind | unit | from | tells |", "| --- | --- | --- | --- | --- |"]
    for name, (kind, unit, description, owner) in sorted(instruments().items()):
        rows.append(f"| `{name}` | {kind} | {unit} | {owner} | {description} |")
    return (
        "\n\n".join(
            [
                "# Metrics",
                "Names as in OpenTelemetry. In PromQL dots become underscores, the unit is appended and "
                "counters end in `_total`.",
                "\n".join(rows),
            ]
        )
        + "\n"
    )


def test_every_setting_is_documented(rewrite):
    agree(ROOT / "docs/configuration.md", configuration(), rewrite)


def test_every_error_reason_is_documented(rewrite):
    agree(ROOT / "docs/errors.md", errors_page(), rewrite)


def test_every_metric_is_documented(rewrite):
    agree(ROOT / "docs/metrics.md", metrics_page(), rewrite)


def test_a_reason_is_one_upper_snake_word_with_one_meaning():
    for reason, entries in reasons().items():
        assert reason == reason.upper()
        assert reason.replace("_", "").isalnum(), reason
        assert len({code for code, _, _ in entries}) == 1, reason


def test_every_kind_of_error_says_what_to_do():
    page = errors_page()

    for code in status.CODES.values():
        assert f"`{code.name}`" in page.partition("| reason |")[0]
    assert errors.MeshError not in status.CODES
