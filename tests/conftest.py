"""What tests of every kind share; the parts behind the fixtures are real ones."""

import grpc
import hypothesis
import pytest


# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("mesh", deadline=None)
hypothesis.settings.load_profile("mesh")

# Held until the end. gRPC's poller would else end with the last channel of a test and begin with the
# next one's, and its end waits for every operation left open, for as long as that takes.
grpc.aio.init_grpc_aio()

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


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether scenario and golden files are to be rewritten."""
    return bool(request.config.getoption("--rewrite"))
