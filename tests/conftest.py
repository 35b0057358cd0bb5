"""Options and fixtures of every test."""

import secrets

import pytest
from hypothesis import HealthCheck, settings

# What fails in these says what differs, as in a test's own module.
pytest.register_assert_rewrite("tests.books", "tests.soak", "tests.utxo_soak", "tests.utxo_verdict")
pytest_plugins = ("tests.fixtures_nodes", "tests.fixtures_postgres")

settings.register_profile(
    "short", max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "soak", max_examples=3000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", default=False, help="run long tests in their full form")
    parser.addoption("--seed", type=int, default=None, help="seed of the random walks; default: fixed, fresh under --soak")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("soak" if config.getoption("--soak") else "short")


def pytest_report_header(config: pytest.Config) -> str:
    return f"random walks use --seed {walk_seed(config)}"


def walk_seed(config: pytest.Config) -> int:
    """Return the seed of this run: the one asked for, a fresh one under --soak, else a fixed one."""
    asked = config.getoption("--seed")
    if asked is None:
        asked = secrets.randbelow(2**32) if config.getoption("--soak") else 20261122
        config.option.seed = asked
    return int(asked)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of this run's random walks."""
    return walk_seed(request.config)


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether long tests run in their full form."""
    return bool(request.config.getoption("--soak"))
