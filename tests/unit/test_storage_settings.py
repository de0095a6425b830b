"""Settings: read once, from the environment and what is given; errors name it, not its value."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from turnkeeper_storage.admission import QueueLimits
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TURNKEEPER_{name.upper()}", raising=False)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_the_defaults_are_those_of_the_protocol() -> None:
    settings = load_settings()
    assert (settings.lease_seconds, settings.heartbeat_seconds, settings.sweep_seconds) == (30, 10, 5)
    assert (settings.drain_runs, settings.drain_seconds, settings.crash_limit) == (20, 60, 3)
    assert settings.ingest_queue == "turnkeeper.ingest"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNKEEPER_LEASE_SECONDS", "60")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    settings = load_settings()
    assert settings.lease_seconds == 60
    assert settings.openai_base_url == "http://127.0.0.1:1/v1"


def test_what_is_given_beats_the_environment_and_none_means_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURNKEEPER_QUEUE", "outside")
    assert load_settings(queue="given").queue == "given"
    assert load_settings(queue=None).queue == "outside"
    assert load_settings(openai_base_url="http://127.0.0.1:2").openai_base_url == "http://127.0.0.1:2"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TURNKEEPER_LEASE_SECONDS", "soon", "TURNKEEPER_LEASE_SECONDS"),
        ("TURNKEEPER_CONCURRENCY", "0", "TURNKEEPER_CONCURRENCY"),
        ("TURNKEEPER_HEARTBEAT_SECONDS", "25", "heartbeat_seconds must be at most half of lease_seconds"),
        ("TURNKEEPER_QUEUE", "", "TURNKEEPER_QUEUE"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=told):
        load_settings()


def test_an_error_never_tells_the_value() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(pool_size="postgresql://me:my-password@host")
    assert "my-password" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="TURNKEEPER_LEASE_SECOND"):
        load_settings(lease_second=3)


def test_the_key_of_the_model_is_not_shown() -> None:
    settings = load_settings(openai_api_key="sk-secret")
    assert "sk-secret" not in repr(settings)
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-secret"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_settings().queue = "another"


@pytest.mark.parametrize("word", ["none", "None"])
def test_a_limit_that_there_is_by_default_can_be_taken_away(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().queue_limits == QueueLimits(per_session=1000)
    assert load_settings(max_queued_per_session=word).max_queued_per_session is None
    monkeypatch.setenv("TURNKEEPER_MAX_QUEUED_PER_SESSION", word)
    assert load_settings().queue_limits == QueueLimits()


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="TURNKEEPER_MAX_QUEUED_PER_TENANT"):
        load_settings(max_queued_per_tenant=0)
