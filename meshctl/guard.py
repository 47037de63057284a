"""
Outlives a supervisor that is killed, for as long as it takes to end what it left.

Run as a script: `python -I -S guard.py FOLDER KEEPER`, its standard input a
pipe that only the supervisor can write to. The kernel ends the supervisor's
children, but not theirs; when the pipe closes, this ends the sessions that
FOLDER has a record of, if process KEEPER made it.
"""

import json
import sys
from pathlib import Path


PATIENCE_S = 1.5


def main(argv: list[str]) -> int:
    """Wait for the end of the supervisor, then clean up."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from meshctl.processes import Trace, end_sessions  # noqa: PLC0415 - needs the line above

    folder, keeper = Path(argv[0]), int(argv[1])
    sys.stdin.buffer.read()
    leaders = []
    for path in folder.glob("*.json"):
        try:
            record = json.loads(path.read_text())
            if record.pop("keeper") == keeper:
                leaders.append(Trace(**record))
        except (OSError, ValueError, TypeError, KeyError):
            continue  # Removed meanwhile, or written half: it was the last act.
    end_sessions(leaders, PATIENCE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
