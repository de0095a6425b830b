"""What lies outside of the database: the broker, Redis for live events, the model server."""

from __future__ import annotations

import contextlib
from importlib import import_module
from typing import TYPE_CHECKING

from turnkeeper.doctor.findings import Finding, fail, in_thread, ok, place, warn
from turnkeeper_storage.broker import reach_broker
from turnkeeper_storage.doorbell import make_celery
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.tls import distrusted

if TYPE_CHECKING:
    from celery import Celery

SOCKET_SECONDS = 3.0


def prepare() -> None:
    """Import what takes long, before the clocks of the checks run."""
    for name in ("celery", "kombu.transport.redis", "redis.asyncio", "openai"):
        with contextlib.suppress(ImportError):
            import_module(name)


async def check_broker(settings: Settings, app: Celery | None) -> list[Finding]:
    """Whether wake-ups can be published. `app`: of the user's module."""
    await in_thread(lambda: _connect(settings, app))
    where = place(settings.broker_url) if app is None else "the broker of the module's Celery app"
    return [ok("broker", f"{where} answers")]


def _connect(settings: Settings, app: Celery | None) -> None:
    reach_broker(app or make_celery(settings.broker_url, settings.queue), SOCKET_SECONDS)


async def check_redis(settings: Settings) -> list[Finding]:
    """Whether live events can be told; without Redis readers look into the database from time to time."""
    url = settings.live_url
    if url is None:
        remedy = "set TURNKEEPER_REDIS_URL for live deltas; without it readers poll for durable events"
        return [warn("redis", "none is named, and the broker is none", remedy)]
    from redis.asyncio import Redis

    client = Redis.from_url(url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS)
    try:
        await client.get("turnkeeper:doctor")
    finally:
        await client.aclose()
    return [ok("redis", f"{place(url)} answers")]


async def check_model(settings: Settings) -> list[Finding]:
    """Whether the model server lets us in: `GET /models` with the key, as a worker would send it."""
    try:
        import openai

        from turnkeeper_worker.models.client import make_client
    except ModuleNotFoundError:
        return [ok("model", "not asked: turnkeeper[worker] is not installed here")]
    if settings.openai_api_key is None and settings.openai_base_url is None:
        remedy = "set OPENAI_API_KEY, or OPENAI_BASE_URL, where workers run"
        return [warn("model", "no key is set here", remedy)]
    where = place(settings.openai_base_url or "https://api.openai.com/v1")
    client = make_client(settings)
    try:
        await client.models.list()
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        text = f"{where} refuses the key ({error.status_code})"
        return [fail("model", text, "check OPENAI_API_KEY, and the rights of its project")]
    except openai.APIStatusError as error:
        if error.status_code in (404, 405):
            return [ok("model", f"{where} answers; it lists no models")]
        return [fail("model", f"{where} answers {error.status_code}", "look at the model server itself")]
    except openai.APIConnectionError as error:
        refused = distrusted(error)
        if refused is not None:
            text = f"the certificate of {where} is not trusted ({refused})"
            return [
                fail("model", text, "check OPENAI_BASE_URL, and name your authority in TURNKEEPER_CA_FILE")
            ]
        return [fail("model", f"{where} cannot be reached", "check OPENAI_BASE_URL and the way there")]
    finally:
        await client.close()
    return [ok("model", f"{where} answers and takes the key")]
