"""Redis and RabbitMQ over TLS: kombu's own defaults check neither authority nor name, ours check both."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.certificates import Authority
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Processes
from tests.fakes.site import Site, ready
from tests.fakes.tls_front import TlsFront
from turnkeeper_storage.broker import reach_broker
from turnkeeper_storage.doorbell import make_celery
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.sessions.redis import RedisSession
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.tls import broker_tls


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def redis_front(redis_url: str, authority: Authority) -> AsyncIterator[TlsFront]:
    async with TlsFront(redis_url, authority.issue("localhost").context()) as front:
        yield front


@pytest.fixture
async def rabbitmq_front(rabbitmq_url: str, authority: Authority) -> AsyncIterator[TlsFront]:
    # kombu makes 127.0.0.1 of localhost before it asks who is there
    async with TlsFront(rabbitmq_url, authority.issue("127.0.0.1").context()) as front:
        yield front


async def reach(url: str) -> None:
    """Connect to a broker as a doorbell does."""
    await asyncio.to_thread(reach_broker, make_celery(url, "q"), 3.0)


async def test_redis_carries_wake_ups_deltas_and_events_over_tls_alone(
    redis_front: TlsFront, authority: Authority, migrated_sqlite: str, processes: Processes
) -> None:
    url = redis_front.url("rediss", "localhost", f"ssl_ca_certs={authority.file}")
    async with ScriptedModel(answer=echo) as model:
        # nobody sweeps in time: what runs was woken
        rare = {"TURNKEEPER_SWEEP_SECONDS": "600"}
        site = Site(processes, migrated_sqlite, url, model.base_url, settings=rare)
        await asyncio.to_thread(ready, site.start_worker())
        async with site.client() as client:
            run = await client.enqueue("s", "Hello", agent="support", stream=True)
            seen = [event.type async for event in run.events()]
            assert "delta.text" in seen
            assert seen[-1] == "run.completed"
    # the worker's consumer, its publisher, its listener; the client's bell and its reader
    assert redis_front.protected >= 5


async def test_rabbitmq_carries_wake_ups_over_tls_alone(
    rabbitmq_front: TlsFront, authority: Authority, migrated_sqlite: str, processes: Processes
) -> None:
    url = rabbitmq_front.url("amqps", query=f"ssl_ca_certs={authority.file}")
    async with ScriptedModel(answer=echo) as model:
        rare = {"TURNKEEPER_SWEEP_SECONDS": "600"}
        site = Site(processes, migrated_sqlite, url, model.base_url, settings=rare)
        worker = await asyncio.to_thread(ready, site.start_worker())
        async with site.client() as client:
            run = await client.enqueue("s", "Hello", agent="support")
            assert (await run.wait(30)).output == "echo: Hello"
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 20) == 0
    assert rabbitmq_front.protected >= 2


async def test_redis_of_another_authority_or_name_is_refused(
    redis_url: str, redis_front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    async with TlsFront(redis_url, authority.issue("elsewhere.example").context()) as elsewhere:
        await refuses("rediss", "localhost", (redis_front, elsewhere), authority, tmp_path)


async def test_rabbitmq_of_another_authority_or_name_is_refused(
    rabbitmq_url: str, rabbitmq_front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    async with TlsFront(rabbitmq_url, authority.issue("elsewhere.example").context()) as elsewhere:
        await refuses("amqps", "127.0.0.1", (rabbitmq_front, elsewhere), authority, tmp_path)


async def refuses(
    scheme: str, host: str, fronts: tuple[TlsFront, TlsFront], authority: Authority, folder: Path
) -> None:
    """Our doorbell goes to the first front, of this authority and this name, and never to the second one."""
    front, elsewhere = fronts
    ours, others = (f"ssl_ca_certs={one.file}" for one in (authority, Authority(folder, "another authority")))
    await reach(front.url(scheme, host, ours))
    # without a file of its own the system's authorities are asked, and vouch for nobody here
    for refused in (
        elsewhere.url(scheme, host, ours),
        front.url(scheme, host, others),
        front.url(scheme, host),
    ):
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            await reach(refused)


async def test_live_events_refuse_another_authority_or_name(
    redis_front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    from redis.asyncio import Redis
    from redis.exceptions import ConnectionError as Refused

    other = Authority(tmp_path, "another authority")
    for host, query in (("localhost", f"ssl_ca_certs={other.file}"), ("localhost", ""), ("127.0.0.1", "")):
        async with Redis.from_url(redis_front.url("rediss", host, query)) as client:
            with pytest.raises(Refused, match="CERTIFICATE_VERIFY_FAILED"):
                await client.ping()


async def test_a_session_in_redis_lives_over_tls(redis_front: TlsFront, authority: Authority) -> None:
    url = redis_front.url("rediss", "localhost", f"ssl_ca_certs={authority.file}")
    async with RedisSession.from_url("s", url=url) as session:
        await session.add_items([{"type": "message", "role": "user", "content": "Hello"}])
        assert len(await session.get_items()) == 1


async def test_a_broker_without_tls_is_not_spoken_to_in_the_clear(redis_url: str) -> None:
    with pytest.raises(Exception, match=r"SSL|Connection closed|EOF|Timeout connecting"):
        await reach(redis_url.replace("redis://", "rediss://"))


def test_the_url_of_a_broker_becomes_what_celery_is_told(authority: Authority) -> None:
    assert broker_tls("redis://h/0").use_ssl is None
    redis = broker_tls(f"rediss://:secret@h:1/2?ssl_ca_certs={authority.file}&health_check_interval=5")
    assert redis.url == "rediss://:secret@h:1/2?health_check_interval=5"
    assert redis.use_ssl == {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
        "ssl_ca_certs": str(authority.file),
    }
    assert broker_tls("amqps://a:b@h//").use_ssl == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    assert broker_tls("amqps://h//?ssl_cert_reqs=none").use_ssl == {"cert_reqs": ssl.CERT_NONE}
    assert "secret" not in repr(redis)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("rediss://h/0?ssl_ca_cert=/x", "ssl_ca_cert is not known; use ssl_ca_certs"),
        ("rediss://h/0?ssl_cert_reqs=maybe", "ssl_cert_reqs is none of required, optional, none"),
        ("amqps://h//?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs: /nowhere/ca.pem cannot be read"),
        ("amqps://one//;amqp://two//", "do not ask for the same TLS"),
    ],
)
def test_a_broker_url_that_cannot_be_meant_is_told(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make_celery(url, "q")


def test_live_events_go_where_the_broker_is_with_its_authority(authority: Authority) -> None:
    settings = load_settings(broker_url=f"rediss://h/0?ssl_ca_certs={authority.file}")
    assert settings.live_url == f"rediss://h/0?ssl_ca_certs={authority.file}"
