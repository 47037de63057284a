"""The `notifier` command."""

from __future__ import annotations

import sys

from meshkit.main import run_service
from notifier.app import serve
from notifier.settings import Settings


if __name__ == "__main__":
    sys.exit(run_service("notifier", Settings, serve))
