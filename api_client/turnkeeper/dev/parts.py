"""What `turnkeeper dev` runs, in words: one value per child process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

API_READY = "HTTP API on "


@dataclass(frozen=True, slots=True)
class Part:
    """A child process: `python -m turnkeeper.dev.child arguments…`.

    `ready`: what it writes once it can be used. `follows_code`: start it anew when the code changes.
    `is_shown`: show its lines as they come; otherwise the last ones, when it ends unasked. `stop_seconds`:
    how long it has from SIGTERM to SIGKILL. `handed`: descriptors of ours that it has too.
    """

    name: str
    arguments: tuple[str, ...]
    ready: str
    follows_code: bool = False
    is_shown: bool = True
    stop_seconds: float = 5.0
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    handed: tuple[int, ...] = ()
