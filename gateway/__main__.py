"""The `gateway` command: `serve`, `check-config`, and `relay`, the edge's link to it."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run the command in *argv*; `relay` alone means `relay serve`. Returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    # Each mode loads its own parts only: a relay beside every Envoy must stay small.
    if arguments[:1] == ["relay"]:
        from gateway.relay.app import main as relay  # noqa: PLC0415

        return relay(arguments[1:] or ["serve"])
    from gateway.app import serve  # noqa: PLC0415
    from gateway.settings import Settings  # noqa: PLC0415
    from meshkit.main import run_service  # noqa: PLC0415

    return run_service("gateway", Settings, serve, arguments)


if __name__ == "__main__":
    sys.exit(main())
