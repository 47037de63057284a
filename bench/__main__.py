"""`python -m bench <area>`: measure, write `build/bench/<area>.json`, print a table."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    folder = Path(__file__).parent / "areas"
    areas = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    if len(argv) != 1 or argv[0] not in areas:
        print(f"bench: name one area of: {', '.join(areas)}", file=sys.stderr)
        return 2
    report = importlib.import_module(f"bench.areas.{argv[0]}").measure()
    path = report.write()
    report.show()
    print(f"written to {path}, samples beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
