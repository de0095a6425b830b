"""Write docs/reference/*.md from the docstrings: `python docs/generate_reference.py`.

The source is read, not run, by griffe; `tests/unit/test_docs.py` checks that the pages are current.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
FACE = "turnkeeper"
PACKAGES = ("turnkeeper_api", "turnkeeper_client", "turnkeeper_storage", "turnkeeper_worker")
TITLES = {
    "turnkeeper_api": "The HTTP API: what serves it, or mounts it in an app of one's own.",
    "turnkeeper_client": "The client: what a web backend imports.",
    "turnkeeper_storage": "Storage: sessions, what a run is, settings, errors, migrations.",
    "turnkeeper_worker": "The worker: agents, tools, and what turns them into a process.",
}
# What is public beside the names that a package exports itself.
MORE = {
    "turnkeeper_api": [],
    "turnkeeper_client": ["remote.client.RemoteClient"],
    "turnkeeper_storage": [
        "migrate.upgrade",
        "migrate.upgrade_async",
        "migrate.check_schema",
        "migrate.grant",
        "model.AgentRecord",
    ],
    "turnkeeper_worker": [
        "app.Turnkeeper",
        "agents.Agent",
        "tools.tool",
        "tools.Tool",
        "context.RunContext",
        "models.base.Delta",
        "models.base.Model",
        "models.base.ModelError",
        "models.base.ModelRequest",
        "models.base.ModelResponse",
        "models.base.ModelSettings",
        "models.base.OnDelta",
        "persisting.PersistContext",
        "windows.Window",
        "windows.chain",
        "windows.drop_tool_outputs",
        "windows.last_items",
        "windows.last_turns",
        "windows.token_budget",
        "runner.Runner",
        "runner.TurnRequest",
        "runner.TurnOutcome",
        "runner.ModelRunner",
        "command.run_worker",
        "runtime.Runtime",
    ],
}
HEAD = "<!-- Written by docs/generate_reference.py: change the docstrings, not this page. -->\n"


def pages() -> dict[str, str]:
    """The pages by their paths in the repository."""
    loader = griffe.GriffeLoader(search_paths=[ROOT / part for part in ("api_client", "storage", "worker")])
    modules = {name: loader.load(name) for name in (FACE, *PACKAGES)}
    loader.resolve_aliases(implicit=False, external=False)
    objects = {name: list(_public(modules[name], MORE[name])) for name in PACKAGES}
    written = {_path(name): _page(name, objects[name]) for name in PACKAGES}
    written[_path(FACE)] = _face(objects, modules[FACE])
    return {path: _formatted(path, text) for path, text in written.items()}


def _formatted(path: str, text: str) -> str:
    """The page as `make check` wants it: ruff formats the code in it."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", path, "-"]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    return done.stdout


def _path(package: str) -> str:
    return f"docs/reference/{package}.md"


def _public(
    package: griffe.Object | griffe.Alias, more: Sequence[str]
) -> Iterator[tuple[str, griffe.Object]]:
    """(name to import it from, the object), in the order of their names."""
    exported = [str(name) for name in package.exports or []]
    found = {f"{package.path}.{name}": package[name] for name in (*exported, *more)}
    for path in sorted(found, key=lambda path: path.rpartition(".")[2].lower()):
        target = found[path]
        yield path, target.final_target if isinstance(target, griffe.Alias) else target


def _page(package: str, objects: Sequence[tuple[str, griffe.Object]]) -> str:
    parts = [HEAD, f"# {package}\n", f"{TITLES[package]}\n"]
    for path, found in objects:
        parts.append(f"## {found.name}\n")
        parts.append(f"`from {path.rpartition('.')[0]} import {found.name}`\n")
        parts.extend(_described(found))
    return "\n".join(parts)


def _described(found: griffe.Object) -> Iterator[str]:
    head = "@property\n" if "property" in found.labels else ""
    yield f"```python\n{head}{_signature(found)}\n```\n"
    if found.docstring:
        yield f"{_text(found.docstring.value)}\n"
    if isinstance(found, griffe.Class):
        init = found.members.get("__init__")
        if init is not None and init.docstring:
            yield f"{_text(init.docstring.value)}\n"
        # the methods of a client stand in more than one of our classes
        for named in {**found.inherited_members, **found.members}.values():
            member = named.final_target if isinstance(named, griffe.Alias) else named
            if isinstance(member, griffe.Object) and _is_told(member):
                yield f"### {found.name}.{member.name}\n"
                yield from _described(member)


def _is_told(member: griffe.Object) -> bool:
    is_callable = isinstance(member, griffe.Function) or "property" in member.labels
    return is_callable and not member.name.startswith("_")


def _text(docstring: str) -> str:
    """The docstring as Markdown; indented lines (trees, code) stay as they are."""
    lines = docstring.replace("<", "&lt;").splitlines()
    return "\n".join(lines).replace("`&lt;", "`<").strip()


def _signature(found: griffe.Object) -> str:
    """The declaration out of the source: bases and fields of a class, parameters of a function."""
    source = found.source
    node = ast.parse(source).body[0]
    if isinstance(node, ast.ClassDef):
        return _class(node)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _function(node)
    return source.strip()


def _class(node: ast.ClassDef) -> str:
    fields = [ast.unparse(one) for one in node.body if isinstance(one, ast.AnnAssign) and not _is_hidden(one)]
    fields += [ast.unparse(one) for one in node.body if isinstance(one, ast.Assign) and len(one.targets) == 1]
    fields = [one for one in fields if not one.startswith(("_", "model_config"))]
    inits = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
    fields += [_function(one) for one in inits]
    bases = [ast.unparse(base) for base in node.bases]
    head = f"class {node.name}({', '.join(bases)})" if bases else f"class {node.name}"
    return "\n".join([f"{head}:", *(_indented(one) for one in fields)]) if fields else f"{head}: ..."


def _is_hidden(node: ast.AnnAssign) -> bool:
    return ast.unparse(node.target).startswith("_")


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    wraps = ["@classmethod"] if "classmethod" in map(ast.unparse, node.decorator_list) else []
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    whole = f"{kind} {node.name}({ast.unparse(node.args)}){result}: ..."
    if len(whole) > 96:
        inner = ",\n".join(f"    {one}" for one in _split(ast.unparse(node.args)))
        whole = f"{kind} {node.name}(\n{inner},\n){result}: ..."
    return "\n".join([*wraps, whole])


def _split(arguments: str) -> list[str]:
    """The arguments, cut at commas that stand in no bracket."""
    parts, depth = [""], 0
    for char in arguments:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _indented(text: str) -> str:
    return re.sub(r"^", "    ", text, flags=re.MULTILINE)


def _face(objects: dict[str, list[tuple[str, griffe.Object]]], face: griffe.Object | griffe.Alias) -> str:
    homes = {found.name: (package, found) for package in PACKAGES for _, found in objects[package]}
    rows = []
    for name in sorted(face.exports or [], key=lambda one: str(one).lower()):
        package, found = homes[str(name)]
        first = (
            found.docstring.value.strip().partition("\n\n")[0].replace("\n", " ") if found.docstring else ""
        )
        rows.append(f"| [`{name}`]({package}.md#{str(name).lower()}) | {first.replace('|', '&#124;')} |")
    head = "All of these come from `turnkeeper` itself, and are imported when they are asked for.\n"
    whole = ", ".join(f"[{package}]({package}.md)" for package in PACKAGES)
    head += f"Packages with all that they have: {whole}.\n"
    return "\n".join([HEAD, f"# {FACE}\n", head, "| name | what it is |", "| --- | --- |", *rows, ""])


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
