"""The first start on a machine: what is compiled, by whom, and that it can be stopped."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from meshkit.identity import IdentityFolder
from telemetry.scan import cache
from tests.fixtures.waiting import until


@pytest.mark.timeout(120)
def test_a_stop_while_it_compiles_ends_it_at_once_and_nobody_stays(ca, tmp_path):
    IdentityFolder(tmp_path / "identity").write(ca.material("telemetry"))
    compiled = tmp_path / "compiled"
    compiled.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "telemetry", "serve"],
        env={
            **os.environ,
            "NUMBA_CACHE_DIR": str(compiled),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TELEMETRY_IDENTITY_DIR": str(tmp_path / "identity"),
            "TELEMETRY_STATE_DIR": str(tmp_path / "state"),
        },
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert any('"compiling"' in line for line in process.stderr)
        until(lambda: len(members(process.pid)) > 1, "somebody that compiles", within_s=20)

        process.send_signal(signal.SIGINT)

        assert process.wait(20) == 0
    until(lambda: not members(process.pid), "nobody of it to be there", within_s=10)
    assert not (compiled / "compiled.whole").exists()


def members(session):
    """The processes of a session that live."""
    found = []
    for one in psutil.process_iter():
        try:
            if os.getsid(one.pid) == session and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_what_is_compiled_of_todays_sources_is_not_compiled_again(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not cache.is_whole()

    cache.note_whole()
    assert cache.is_whole()

    (tmp_path / "compiled.whole").write_text("of other sources")
    assert not cache.is_whole()
