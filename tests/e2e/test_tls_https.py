"""The HTTP API and the model server over TLS, and what doctor says of certificates not trusted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes import replies
from tests.fakes.api import make_client
from tests.fakes.certificates import Authority
from tests.fakes.dev import COMMAND
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Processes
from tests.fakes.tls_front import TlsFront
from tests.fakes.worker import running_worker
from turnkeeper.serving.certificate import certificate_of
from turnkeeper_client import AsyncClient
from turnkeeper_storage.errors import ApiUnavailable, ConfigurationError
from turnkeeper_storage.settings import load_settings
from turnkeeper_worker.agents import Agent

LISTENS = r"HTTP API listens on (https://\S+)"
SUPPORT = Agent(name="support", model="gpt-5.2")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_the_api_shows_its_certificate_and_speaks_nothing_else(
    processes: Processes, migrated_sqlite: str, authority: Authority, tmp_path: Path
) -> None:
    papers = authority.issue("127.0.0.1")
    async with make_client(migrated_sqlite) as client:
        key = (await client.create_api_key("ana", ["runs"])).text
    env = {"TURNKEEPER_DATABASE_URL": migrated_sqlite, "TURNKEEPER_BROKER_URL": "memory://"}
    shown = ("--ssl-certfile", str(papers.chain), "--ssl-keyfile", str(papers.key))
    api = processes(*COMMAND, "api", "--port", "0", *shown, env=env)
    found = re.search(LISTENS, await asyncio.to_thread(api.wait_for_log, "HTTP API listens on https://"))
    assert found is not None
    trusting = load_settings(ca_file=str(authority.file))
    async with AsyncClient(found[1], api_key=key, settings=trusting) as remote:
        assert (await remote.enqueue("s", "Hello", agent="support")).id
    other = load_settings(ca_file=str(Authority(tmp_path, "another authority").file))
    for settings in (other, load_settings()):
        async with AsyncClient(found[1], api_key=key, settings=settings) as remote:
            with pytest.raises(ApiUnavailable, match=r"certificate is not trusted: .+ TURNKEEPER_CA_FILE"):
                await remote.runs()
    async with httpx2.AsyncClient() as plain:
        with pytest.raises(httpx2.TransportError):
            await plain.get(found[1].replace("https://", "http://") + "/livez")


@pytest.mark.parametrize(
    ("chain", "key", "told"),
    [
        (None, "a.key", "--ssl-keyfile: is given without --ssl-certfile"),
        ("nowhere.crt", None, r"--ssl-certfile: .*nowhere.crt cannot be read"),
        ("a.crt", "b.key", "are no certificate in PEM form with its key"),
        ("a.crt", None, "are no certificate in PEM form with its key"),
    ],
)
def test_a_certificate_that_cannot_be_shown_is_refused_at_once(
    authority: Authority, tmp_path: Path, chain: str | None, key: str | None, told: str
) -> None:
    first, second = authority.issue("a"), authority.issue("b")
    files = {"a.crt": first.chain, "a.key": first.key, "b.key": second.key}
    named = [None if name is None else files.get(name, tmp_path / name) for name in (chain, key)]
    with pytest.raises(ConfigurationError, match=told):
        certificate_of(*named)


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(answer=echo) as model:
        yield model


@pytest.mark.parametrize("stream", [False, True])
async def test_a_worker_trusts_the_authority_of_its_model_server(
    migrated_sqlite: str, model: ScriptedModel, authority: Authority, stream: bool
) -> None:
    async with TlsFront(model.base_url, authority.issue("localhost").context()) as front:
        place: dict[str, Any] = {
            "openai_base_url": front.url("https", "localhost"),
            "ca_file": str(authority.file),
        }
        async with running_worker(migrated_sqlite, model, agents=[SUPPORT], **place) as worker:
            run = await worker.client.enqueue("s", "Hello", agent="support", stream=stream)
            assert (await run.wait(20)).output == "echo: Hello"
        assert front.protected == 1


@pytest.mark.parametrize("is_named", [True, False])
async def test_a_model_server_that_nobody_vouches_for_is_told_nothing(
    migrated_sqlite: str, model: ScriptedModel, authority: Authority, tmp_path: Path, is_named: bool
) -> None:
    other = {"ca_file": str(Authority(tmp_path, "another authority").file)} if is_named else {}
    async with TlsFront(model.base_url, authority.issue("localhost").context()) as front:
        place: dict[str, Any] = {"openai_base_url": front.url("https", "localhost"), **other}
        async with running_worker(migrated_sqlite, model, agents=[SUPPORT], **place) as worker:
            run = await worker.client.enqueue("s", "Hello", agent="support")
            ended = await run.wait(20)
    assert ended.error is not None
    assert ended.error.code == "model_unreachable"
    assert "certificate is not trusted" in ended.error.message
    assert model.requests == []


@pytest.mark.parametrize("content", ["", "no certificate", None])
def test_a_ca_file_without_certificates_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"TURNKEEPER_CA_FILE: .+ (holds no|cannot be read)"):
        AsyncClient("https://agents.example", settings=load_settings(ca_file=str(file)))


async def test_doctor_says_whose_certificate_is_not_trusted(
    migrated_postgres: str, redis_url: str, model: ScriptedModel, authority: Authority, tmp_path: Path
) -> None:
    context = authority.issue("localhost").context()
    other = Authority(tmp_path, "another authority").file
    model.answer_with(lambda _: replies.text("never"))
    async with (
        TlsFront(migrated_postgres, context) as database,
        TlsFront(redis_url, context) as redis,
        TlsFront(model.base_url, context) as server,
    ):
        env = {
            "TURNKEEPER_DATABASE_URL": database.url(
                "postgresql", "localhost", f"sslmode=verify-full&sslrootcert={other}"
            ),
            "TURNKEEPER_BROKER_URL": redis.url("rediss", "localhost", f"ssl_ca_certs={other}"),
            "OPENAI_BASE_URL": server.url("https", "localhost"),
            "OPENAI_API_KEY": "test",
        }
        found = await asyncio.to_thread(doctor, env)
    for check in ("database", "broker", "redis", "model"):
        level, text, remedy = found[check]
        assert (check, level) == (check, "fail")
        assert "not trusted" in text
        assert remedy
    assert database.plain == 0


def doctor(env: dict[str, str]) -> dict[str, tuple[str, str, str]]:
    """(level, text, remedy) of each check of `turnkeeper doctor`."""
    done = subprocess.run(
        [sys.executable, "-m", "turnkeeper", "doctor", "--json"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    findings = json.loads(done.stdout)["findings"]
    return {one["check"]: (one["level"], one["text"], one["remedy"]) for one in findings}
