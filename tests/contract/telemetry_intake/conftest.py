"""What all tests of the way in have in common."""

import itertools

import pytest
import pytest_asyncio
from numba.core import event

from telemetry import warm
from telemetry.settings import Settings
from tests.contract.telemetry_intake.running import opened


class Compiled(event.Listener):
    """Remembers which of our kernels are compiled, not loaded."""

    def __init__(self):
        self.found = set()

    def on_start(self, event):
        kernel = event.data["dispatcher"].py_func
        if kernel.__module__.startswith("telemetry."):
            self.found.add(f"{kernel.__module__}.{kernel.__name__}: {event.data['args']}")

    def on_end(self, event):
        pass


@pytest.fixture(scope="session", autouse=True)
def nothing_is_compiled():
    """What is compiled beforehand is all that requests need: nobody waits for the rest."""
    for all_of_it in (warm.first_requests, warm.rare_requests, warm.queries):
        all_of_it()
    compiled = Compiled()
    event.register("numba:compile", compiled)
    yield
    event.unregister("numba:compile", compiled)
    assert compiled.found == set()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def way_in(tmp_path_factory):
    """The way in, per module: (sessions, pipeline). Tests that share it send as a `tenant` each."""
    folder = tmp_path_factory.mktemp("telemetry")
    async with opened(Settings(state_dir=folder / "state")) as both:
        yield both


_NUMBERS = itertools.count()


@pytest.fixture
def tenant():
    """A tenant that no other test has."""
    return f"tenant-{next(_NUMBERS)}"
