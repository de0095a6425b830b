"""The files of deploy/, read as those read them whose files they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from turnkeeper_storage.items import Json

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
# what reads SIGTERM has so many seconds more than its grace time
MARGIN = 10.0
# ${NAME}, ${NAME:-default} and ${NAME:?message}, whose default may hold further ones
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])((?:[^${}]|\$\{[^{}]*\})*))?\}")


class Unset(Exception):
    """A variable that a file wants is not set; the text says which."""


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """The text with compose's variables put in. Raises Unset."""

    def put(found: re.Match[str]) -> str:
        name, kind, rest = found[1], found[2], found[3] or ""
        value = variables.get(name, "")
        if value or kind is None:
            return value
        if kind == "?":
            raise Unset(f"{name}: {rest}")
        return interpolated(rest, variables)

    return _VARIABLE.sub(put, text)


def compose(variables: Mapping[str, str]) -> dict[str, Json]:
    """compose.yaml with the variables put in, and its anchors merged."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    code = "\n".join("" if line.lstrip().startswith("#") else line for line in text.splitlines())
    read: dict[str, Json] = yaml.safe_load(interpolated(code, variables))
    return read


def variables_of_compose() -> set[str]:
    """The names of all variables that compose.yaml asks for."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"\$\{(\w+)", text))


def env_file(path: Path) -> dict[str, str]:
    """A file of variables; comments and empty lines left out, values as they stand."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def seconds(duration: str) -> float:
    """Compose's and systemd's `45s`, `30min` or `20` in seconds."""
    found = re.fullmatch(r"(\d+)(s|min|m)?", duration)
    assert found is not None, duration
    return float(found[1]) * (1 if found[2] in (None, "s") else 60)


def manifests(folder: Path) -> list[dict[str, Json]]:
    """The documents of all files of Kubernetes in a folder, kustomizations left out."""
    files = [file for file in sorted(folder.glob("*.yaml")) if file.name != "kustomization.yaml"]
    return [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """A unit of systemd: by section and key, all values in their order."""
    sections: dict[str, dict[str, list[str]]] = {}
    here: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            here = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            here.setdefault(key, []).append(value)
    return sections


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))
    lines = code.replace("\\\n", " ").splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def words_of(command: Sequence[Json]) -> list[str]:
    """A command of compose or Kubernetes as texts."""
    return [str(word) for word in command]
