"""What tests of every kind share; the parts behind the fixtures are real ones."""

import gc

import grpc
import hypothesis
import pytest


# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("mesh", deadline=None)
hypothesis.settings.load_profile("mesh")

# Held until the end. gRPC's poller would else end with the last channel of a test and begin with the
# next one's, and its end waits for every operation left open, for as long as that takes.
grpc.aio.init_grpc_aio()

# Most of what is on the heap are modules and collected tests: looking through them again and again
# took a fifth of the unit tests' time.
gc.set_threshold(50_000, 20, 100)

pytest_plugins = [
    "tests.fixtures.ca",
    "tests.fixtures.mesh",
    "tests.fixtures.nats",
    "tests.fixtures.postgres",
    "tests.fixtures.serving",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write actual results into scenario and golden files; read the diff",
    )


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what stays until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether scenario and golden files are to be rewritten."""
    return bool(request.config.getoption("--rewrite"))
