"""A telemetry process that reads with pyarrow does so without pandas."""

import subprocess
import sys


READS = """
import sys
from telemetry.absent import keep_pandas_out
keep_pandas_out()
from telemetry.promql.matchers import re2_match
assert re2_match(["a", "b"], "b+").tolist() == [False, True]
assert not [name for name in sys.modules if name.partition(".")[0] == "pandas"]
"""


def test_pyarrow_does_not_import_pandas_where_it_is_kept_out():
    done = subprocess.run(
        [sys.executable, "-c", READS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
