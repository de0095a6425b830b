"""Each scenario runs twice: with a client of the database, and with one of an HTTP API before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.worker import OVER_HTTP

_ALIKE = ("test_1", "test_2", "test_3", "test_4", "test_5", "test_6", "test_7", "test_8")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2].startswith(_ALIKE):
        metafunc.parametrize("_way", [False, True], ids=["database", "http"], indirect=True)


@pytest.fixture(autouse=True)
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    token = OVER_HTTP.set(getattr(request, "param", False))
    yield
    OVER_HTTP.reset(token)
