"""One turn of a run: the model asked, with retries. The tools are the run loop's."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

from turnkeeper_storage.errors import RunFailure, TurnkeeperError
from turnkeeper_storage.items import Item
from turnkeeper_storage.model import Usage
from turnkeeper_storage.valid_input import make_valid
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.instructions import resolve_instructions
from turnkeeper_worker.models.base import Delta, Model, ModelError, ModelRequest, ModelResponse, OnDelta
from turnkeeper_worker.models.retries import backoff
from turnkeeper_worker.traced_calls import asking, retried

_log = logging.getLogger(__name__)

OnRestart = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One turn to take. `timeout` is in seconds and for each attempt, `retries` counts further attempts.

    `on_delta` makes the call a streamed one; `on_restart` is awaited before a streamed turn that gave deltas
    is asked again, so that readers can discard them.
    """

    agent: Agent
    context: RunContext[Any]
    input: Sequence[Item]
    turn: int
    timeout: float
    retries: int
    on_delta: OnDelta | None = None
    on_restart: OnRestart | None = None


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """The answer of one turn: items that are ready to be stored and to be an input again."""

    response_id: str | None
    items: list[Item]
    usage: Usage


class Runner(Protocol):
    """What turns a merged input into an outcome."""

    async def take_turn(self, request: TurnRequest) -> TurnOutcome:
        """The outcome of one turn. Raises RunFailure when the run cannot go on."""
        ...


async def take_turn(runner: Runner, request: TurnRequest) -> TurnOutcome:
    """The runner's outcome. Raises RunFailure also for what a class of the user's own raises by mistake: to
    leave that to the lease would be to ask again for each crash that is allowed.
    """
    try:
        return await runner.take_turn(request)
    except TurnkeeperError:
        raise
    except Exception as error:
        kind = type(error).__name__
        # the place and the type only: the message may hold what the run is about
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{PurePath(frame.filename).name}:{frame.lineno}"
        _log.warning("run %s turn %d: the runner raised %s in %s", *_where(request), kind, place)
        _log.debug("run %s turn %d: what the runner raised", *_where(request), exc_info=error)
        raise RunFailure("runner_failed", f"the runner raised {kind}") from error


class ModelRunner:
    """The default runner: instructions, valid input, one model call, retries by the class of the error."""

    def __init__(self, model: Model, *, random: Callable[[], float] = random.random) -> None:
        self._model = model
        self._random = random

    async def take_turn(self, request: TurnRequest) -> TurnOutcome:
        call = model_request(request, await resolve_instructions(request.agent, request.context))
        attempt = 0
        while True:
            given = _Given(request.on_delta)
            try:
                with asking(call, attempt + 1) as asked:
                    asked.response = await self._model.respond(call, given if request.on_delta else None)
            except ModelError as error:
                delay = self._delay(request, attempt, error)
                retried(call.model, error.code)
                _log.info("run %s turn %d: attempt %d failed, %s", *_where(request), attempt + 1, error.code)
            else:
                return _outcome(asked.response)
            if given.started and request.on_restart:
                await request.on_restart()
            await asyncio.sleep(delay)
            attempt += 1

    def _delay(self, request: TurnRequest, attempt: int, error: ModelError) -> float:
        delay = backoff(attempt, error, self._random) if attempt < request.retries else None
        if delay is not None:
            return delay
        message = error.message
        if error.retryable:
            message += f"; gave up after {attempt + 1} {'attempt' if attempt == 0 else 'attempts'}"
        raise RunFailure(error.code, message) from error


class _Given:
    """A caller's `on_delta`, with a note whether it was ever called."""

    def __init__(self, on_delta: OnDelta | None) -> None:
        self._on_delta = on_delta
        self.started = False

    async def __call__(self, delta: Delta) -> None:
        self.started = True
        if self._on_delta is not None:
            done = self._on_delta(delta)
            if inspect.isawaitable(done):
                await done


def model_request(request: TurnRequest, instructions: str) -> ModelRequest:
    """The model call of a turn. Pure."""
    agent, run_id = request.agent, request.context.run_id
    settings = agent.model_settings
    return ModelRequest(
        model=agent.model,
        instructions=instructions,
        input=make_valid(request.input),
        tools=agent.offered,
        text_format=agent.output.text_format if agent.output else None,
        settings=settings.after_tools() if request.turn > 1 else settings,
        metadata={"run_id": run_id, "turn": str(request.turn)},
        timeout=request.timeout,
        idempotency_key=f"{run_id}:{request.turn}",
    )


def _outcome(response: ModelResponse) -> TurnOutcome:
    return TurnOutcome(response.id, response.items, response.usage)


def _where(request: TurnRequest) -> tuple[str, int]:
    return request.context.run_id, request.turn
