"""
When to page because rules aren't evaluated when they are due. Pure; Unix milliseconds.

    WELL ──nothing good for `stalled_after`──▶ PAGED ──every `repeat`──▶ page again
      ▲                                          │
      └────────────── good again: tell ──────────┘
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What telemetry said of itself."""

    groups: int
    """How many groups of rules there are."""

    evaluated_ms: int
    """When the one evaluated last was; 0: none has been."""

    due_ms: int
    """When the first of those evaluated before is due again; 0: none has been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the dead man's switch knows."""

    good_ms: int
    """When all was well the last time; at first when it began to watch."""

    paged_ms: int = 0
    """When it paged the last time; 0: nobody has been paged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Somebody must be told."""

    stalled: bool
    """Whether rules stand still; else they are evaluated again."""

    why: str


def judge(
    watch: Watch, heard: Heard | None, now_ms: int, *, stalled_after_ms: int, repeat_ms: int
) -> tuple[Watch, Page | None]:
    """
    Return what is known now, and whom to tell what.

    Args:
        heard: None: telemetry didn't answer.

    """
    lag_ms = 0
    if heard is not None and heard.groups:
        lag_ms = now_ms - heard.due_ms
    if heard is not None and lag_ms < stalled_after_ms:
        page = None
        if watch.paged_ms:
            page = Page(stalled=False, why="Rules are evaluated again.")
        return Watch(good_ms=now_ms), page
    silent_s = (now_ms - watch.good_ms) / 1000
    # Of what answers and stands still the lag itself says for how long.
    is_stalled = now_ms - watch.good_ms >= stalled_after_ms or lag_ms >= stalled_after_ms
    is_due = not watch.paged_ms or now_ms - watch.paged_ms >= repeat_ms
    if not is_stalled or not is_due:
        return watch, None
    why = f"Telemetry has not answered for {silent_s:.0f} s."
    if heard is not None:
        why = f"Telemetry answers, but rules should have been evaluated {lag_ms / 1000:.0f} s ago."
        if not heard.evaluated_ms:
            why = "Telemetry answers, but has evaluated no rule yet."
    return replace(watch, paged_ms=now_ms), Page(stalled=True, why=why)
