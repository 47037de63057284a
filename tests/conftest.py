"""What tests of every kind share; the parts behind the fixtures are real ones."""

import pytest


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
