"""`python -m telemetry serve | check-config`, `restore`, and `deadman`, which watches that it serves."""

from __future__ import annotations

import gc
import sys


def main(argv: list[str] | None = None) -> int:
    """Run the command in *argv*; `deadman` alone means `deadman serve`. Returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    # The one that watches must not need what may be broken in the other.
    if arguments[:1] == ["deadman"]:
        from telemetry.deadman.app import main as deadman  # noqa: PLC0415

        return deadman(arguments[1:])
    if arguments[:1] == ["restore"]:
        from telemetry.backup.command import main as restore  # noqa: PLC0415

        return restore(arguments[1:])
    gc.disable()  # A tenth of the start: it walks what is imported again and again, and all stays.
    from meshkit.main import run_service  # noqa: PLC0415
    from telemetry.absent import keep_pandas_out  # noqa: PLC0415
    from telemetry.app import serve  # noqa: PLC0415
    from telemetry.settings import Settings  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    keep_pandas_out()
    return run_service("telemetry", Settings, serve, arguments)


if __name__ == "__main__":
    sys.exit(main())
