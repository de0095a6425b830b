"""What is looked at before a release goes out: one version everywhere, its changelog, the Pythons."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import turnkeeper
from tests.fakes.pages import ROOT
from tools import release
from tools.release import Refused, check_changelog, find_python
from turnkeeper_api import create_app
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.version import __version__

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_the_version_is_stated_once() -> None:
    stated = [
        file.relative_to(ROOT).as_posix()
        for part in ("api_client", "storage", "worker", "tools")
        for file in (ROOT / part).rglob("*.py")
        if f'"{__version__}"' in file.read_text(encoding="utf-8")
    ]
    assert stated == ["storage/turnkeeper_storage/version.py"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    assert 'path = "storage/turnkeeper_storage/version.py"' in project


def test_package_face_and_openapi_tell_the_same_version() -> None:
    app = create_app(settings=load_settings(database_url="sqlite:///x.db", broker_url="memory://"))
    assert {turnkeeper.__version__, app.openapi()["info"]["version"]} == {__version__}


def test_what_is_installed_here_is_this_version() -> None:
    assert version("turnkeeper") == __version__, "run: pip install --no-deps -e ."


def test_the_readme_names_the_version_by_its_first_two_numbers() -> None:
    short = ".".join(__version__.split(".")[:2])
    assert f"\nVersion {short}, " in (ROOT / "README.md").read_text(encoding="utf-8")


def test_this_version_has_its_section_in_the_changelog() -> None:
    check_changelog((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), __version__)


def test_a_dated_section_is_what_a_release_wants() -> None:
    assert check_changelog("# Changelog\n\n## 1.2.3 (2026-11-27)\n", "1.2.3") is None


def test_an_undated_section_is_let_through_with_a_warning() -> None:
    told = check_changelog("# Changelog\n\n## Unreleased (1.2.3)\n", "1.2.3")
    assert told is not None
    assert "before you publish" in told or "to publish" in told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "## 1.2.2 (2026-11-27)\n",
        "## 1.2.3 (soon)\n",
        "## 11.2.3 (2026-11-27)\n",
        "see 1.2.3 (2026-11-27)",
    ],
)
def test_a_changelog_without_the_section_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=re.escape("no section `## 1.2.3")):
        check_changelog(f"# Changelog\n\n{text}", "1.2.3")


def test_the_python_that_is_here_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"python{HERE}").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert find_python(HERE) == tmp_path / f"python{HERE}"
    assert find_python("3.99") is None


def test_a_shim_that_starts_no_python_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\necho no such version >&2\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert find_python("3.99") is None


def test_a_python_that_is_not_here_is_told_and_none_at_all_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "build", lambda: [Path("turnkeeper.whl")])
    tried: list[tuple[Path, Path]] = []
    monkeypatch.setattr(release, "try_out", lambda python, file: tried.append((python, file)))
    monkeypatch.setattr(release, "find_python", lambda wanted: Path("python") if wanted == HERE else None)
    assert release.main(["--python", "3.99", "--python", HERE]) == 0
    told = capsys.readouterr().out
    assert "release: SKIPPED: Python 3.99 is not on this machine" in told
    assert tried == [(Path("python"), Path("turnkeeper.whl"))]
    assert release.main(["--python", "3.99"]) == 1
    assert "release: REFUSED: none of Python 3.99" in capsys.readouterr().out


def test_a_command_that_fails_refuses_the_release_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such luck"):
        release.call(sys.executable, "-c", "raise SystemExit('no such luck')", cwd=tmp_path)
