"""Alerts and marks to JSON and back, for the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from telemetry.alerts.model import Acknowledgement, Marks, Receipt
from telemetry.rules.states import Alert, Phase


def alert_json(alert: Alert) -> dict[str, Any]:
    """Return *alert* as JSON; a value that JSON has no number for is a text."""
    return asdict(alert) | {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "value": repr(alert.value),
    }


def alert_of(given: dict[str, Any]) -> Alert:
    """Return the alert that `alert_json` wrote."""
    return Alert(
        **{
            **given,
            "labels": tuple(sorted(given["labels"].items())),
            "annotations": tuple(sorted(given["annotations"].items())),
            "value": float(given["value"]),
            "phase": Phase(given["phase"]),
            "firings": tuple(given["firings"]),
        }
    )


def marks_json(marks: Marks) -> dict[str, Any]:
    """Return *marks* as JSON."""
    return asdict(marks)


def marks_of(given: dict[str, Any]) -> Marks:
    """Return the marks that `marks_json` wrote."""
    taken = given.get("acknowledgement")
    return Marks(
        acknowledgement=Acknowledgement(**taken) if taken else None,
        receipt=Receipt(**given.get("receipt", {})),
    )
