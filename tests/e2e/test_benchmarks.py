"""The benchmarks work; what they measure is not looked at here."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.fakes.processes import Processes


@pytest.mark.timeout(300)
async def test_a_part_is_measured_from_its_servers_to_its_table(
    postgres_server_url: str, redis_server_url: str, processes: Processes, tmp_path: Path
) -> None:
    postgres = postgres_server_url.replace("+asyncpg", "")
    measuring = processes(
        *(sys.executable, "-m", "benchmarks", "hot_session", "--share", "0.03", "--runs", "1"),
        *("--postgres", postgres, "--redis", redis_server_url, "--output", str(tmp_path)),
    )
    assert await asyncio.to_thread(measuring.wait, 240) == 0, measuring.log
    (part,) = json.loads((tmp_path / "results.json").read_text())["parts"].values()
    assert all(figure["value"] > 0 for figure in part["figures"])
    assert "hot_session" in (tmp_path / "results.md").read_text()
