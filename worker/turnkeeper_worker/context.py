"""What a tool and an instructions function are given besides their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.items import Json

Deps = TypeVar("Deps")


# No slots: Python 3.11 cannot make `RunContext[Deps](...)` of a frozen generic dataclass with slots.
@dataclass(frozen=True)
class RunContext(Generic[Deps]):
    """The run that a tool works for.

    `deps` is what the app's lifespan gave for this process; `metadata` what the enqueue said; `call_id` names
    the tool call, None outside of one.
    """

    deps: Deps
    run_id: str
    session_id: str
    tenant: str = "default"
    metadata: Mapping[str, Json] = field(default_factory=dict)
    call_id: str | None = None

    @property
    def idempotency_key(self) -> str:
        """`run_id:call_id`: the same for every attempt of one tool call, on any worker.

        Raises TurnkeeperError outside of a tool call.
        """
        if self.call_id is None:
            raise TurnkeeperError("idempotency_key: there is none outside of a tool call; use run_id")
        return f"{self.run_id}:{self.call_id}"

    def for_call(self, call_id: str) -> RunContext[Deps]:
        """The same context inside of the tool call `call_id`."""
        return replace(self, call_id=call_id)
