"""Colours, where somebody sees them."""

from __future__ import annotations

import os
import shutil
import sys

import click


def coloured() -> bool:
    """Whether what is printed may have colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(text: str, colour: str, *, bold: bool = False) -> str:
    """*text* in *colour* if there may be colours."""
    return click.style(text, fg=colour, bold=bold or None) if coloured() else text


def width() -> int:
    """Columns that a line may take: those of the terminal, or as many as it likes."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def cut(text: str, most: int) -> str:
    """*text*, with its end left out if it is longer than *most*."""
    return text if len(text) <= most else text[: max(most - 1, 1)] + "…"
