"""What becomes of a `turnkeeper dev` whose parts do not come up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from turnkeeper.dev import supervisor
from turnkeeper.dev.console import Console
from turnkeeper.dev.main import Session
from turnkeeper.dev.parts import Part
from turnkeeper.dev.place import DevUrls, claim_place
from turnkeeper.dev.stage import Stage
from turnkeeper_storage.errors import ConfigurationError


def _stage(folder: Path, service: Part) -> Stage:
    urls = DevUrls(f"sqlite:///{folder}/dev.db", "memory://")
    return Stage(urls, (service,), (), (), owns_database=True, valkey_folder=folder / "valkey")


async def test_a_service_that_does_not_come_up_is_named_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "START_SECONDS", 3.0)
    broken = Part("practice", ("nonsense",), "never", is_shown=False, env=dict(os.environ))
    with claim_place(tmp_path) as place:
        session = Session(_stage(place.folder, broken), place, Console(["practice"]), [])
        with pytest.raises(ConfigurationError, match="not ready within 3 s: practice"):
            await session.run()
    told = capsys.readouterr().out
    assert "practice | turnkeeper.dev.child: there is no role 'nonsense'" in told
    assert "practice ended with code 2: that cannot be mended by starting it again" in told


async def test_a_part_that_hangs_at_its_start_is_killed_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "START_SECONDS", 1.0)
    hanging = Part("practice", ("practice", "0"), "never", is_shown=False, env=dict(os.environ))
    with claim_place(tmp_path) as place:
        session = Session(_stage(place.folder, hanging), place, Console(["practice"]), [])
        with pytest.raises(ConfigurationError, match="not ready within 1 s: practice"):
            await session.run()
        assert not session._supervisor._living
