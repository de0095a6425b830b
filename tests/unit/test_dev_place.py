"""The folder `.turnkeeper`: one `turnkeeper dev` at a time, and what others find in it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from turnkeeper.dev import place
from turnkeeper.dev.place import VARIABLES, AlreadyRunning, DevUrls, claim_place, find_dev
from turnkeeper_storage.errors import ConfigurationError

URLS = DevUrls("sqlite:////somewhere/dev.db", "redis://:secret@127.0.0.1:1/0")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_what_is_told_is_found_while_it_runs_and_not_after(tmp_path: Path) -> None:
    assert find_dev(tmp_path) is None
    with claim_place(tmp_path) as mine:
        assert find_dev(tmp_path) is None
        mine.tell(URLS)
        assert find_dev(tmp_path) == URLS
        assert find_dev(tmp_path / "elsewhere") is None
    assert find_dev(tmp_path) is None
    assert not (tmp_path / ".turnkeeper" / "dev.json").exists()


def test_the_files_of_one_that_was_killed_say_nothing(tmp_path: Path) -> None:
    with claim_place(tmp_path) as mine:
        mine.tell(URLS)
        kept = (mine.folder / "dev.json").read_text()
    (tmp_path / ".turnkeeper" / "dev.json").write_text(kept)
    assert find_dev(tmp_path) is None


@pytest.mark.parametrize("name", VARIABLES)
def test_a_server_that_the_environment_names_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with claim_place(tmp_path) as mine:
        mine.tell(URLS)
        monkeypatch.setenv(name, "redis://127.0.0.1:2/0")
        assert find_dev(tmp_path) is None


@pytest.mark.parametrize("broken", ["", "[]", '{"database_url": "x"}', "null"])
def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path, broken: str) -> None:
    with claim_place(tmp_path) as mine:
        (mine.folder / "dev.json").write_text(broken)
        assert find_dev(tmp_path) is None


def test_only_the_owner_can_read_the_urls(tmp_path: Path) -> None:
    with claim_place(tmp_path) as mine:
        mine.tell(URLS)
        for name in ("dev.json", "dev.env"):
            assert stat.S_IMODE((mine.folder / name).stat().st_mode) == 0o600


def test_a_second_one_in_the_folder_is_refused_with_the_pid_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "LOCK_SECONDS", 0.05)
    with (
        claim_place(tmp_path),
        pytest.raises(AlreadyRunning, match=r"another `turnkeeper dev` \(pid \d+\) runs in this folder"),
        claim_place(tmp_path),
    ):
        pass
    with claim_place(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / ".turnkeeper").write_text("a file")
    with (
        pytest.raises(ConfigurationError, match=r"\.turnkeeper: cannot be written"),
        claim_place(tmp_path),
    ):
        pass
