"""deploy/env.example is what the settings say, and can be read back."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest

from tests.fakes.deploy import DEPLOY, ROOT, env_file
from tests.unit.test_docs import variables
from turnkeeper_storage.settings import Settings, load_settings


def load_example() -> Callable[[], str]:
    spec = importlib.util.spec_from_file_location("generate_env", ROOT / "deploy/generate_env.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    example: Callable[[], str] = module.example
    return example


def test_the_example_is_current() -> None:
    told = (DEPLOY / "env.example").read_text(encoding="utf-8")
    assert told == load_example()(), "run: python deploy/generate_env.py"


def test_it_names_every_setting_once_with_words_before_it() -> None:
    lines = (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines()
    named = [
        line.lstrip("#").partition("=")[0]
        for line in lines
        if not line.startswith(("# ", "#\n")) and "=" in line
    ]
    assert named == variables()
    for place, line in enumerate(lines):
        if line.lstrip("#").partition("=")[0] in named and not line.startswith("# "):
            assert lines[place - 1].startswith("# ")


def test_uncommented_it_is_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DEPLOY / "env.example").read_text(encoding="utf-8")
    for line in text.splitlines():
        name, is_set, value = line.lstrip("#").partition("=")
        if not line.startswith("# ") and is_set and value and name not in env_file(DEPLOY / "env.example"):
            monkeypatch.setenv(name, value)
    for name in ("TURNKEEPER_DATABASE_URL", "TURNKEEPER_BROKER_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert load_settings() == Settings()
