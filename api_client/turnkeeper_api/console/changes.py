"""What differs between two sets of arguments. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from turnkeeper_api.console.words import label_of, pretty
from turnkeeper_storage.items import Json, canonical


@dataclass(frozen=True, slots=True)
class Change:
    """One place that differs. `before` None: it is new; `after` None: it is gone."""

    path: str
    label: str
    before: str | None
    after: str | None


def changes(before: Json, after: Json) -> list[Change]:
    """The places that differ, in the order of `before`, then what is new. Objects are looked into."""
    return _changes(before, after, ())


def _changes(before: Json, after: Json, path: tuple[str, ...]) -> list[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found: list[Change] = []
        for name in dict.fromkeys((*before, *after)):
            inner = (*path, str(name))
            if name in before and name in after:
                found += _changes(before[name], after[name], inner)
            else:
                old = pretty(before[name]) if name in before else None
                found.append(_change(inner, old, pretty(after[name]) if name in after else None))
        return found
    # 1 and true are equal to Python
    if canonical(before) == canonical(after):
        return []
    return [_change(path, pretty(before), pretty(after))]


def _change(path: tuple[str, ...], before: str | None, after: str | None) -> Change:
    label = " › ".join(label_of(name) for name in path) or "the whole"
    return Change(".".join(path), label, before, after)
