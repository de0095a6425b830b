"""The API in an app of one's own: mounted in FastAPI and in Starlette, with its lifespan and its errors."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from tests.fakes.api import told, who
from turnkeeper_api import Credential, create_app, lifespan_with
from turnkeeper_storage.settings import load_settings

HELLO = {"session_id": "s", "input": "Hello", "agent": "support"}


def in_fastapi(api: FastAPI) -> ASGIApp:
    app = FastAPI(lifespan=lifespan_with(api))
    app.mount("/turnkeeper", api)
    return app


def in_starlette(api: FastAPI) -> ASGIApp:
    return Starlette(routes=[Mount("/turnkeeper", api)], lifespan=lifespan_with(api))


@pytest.fixture
def api(migrated_sqlite: str) -> FastAPI:
    settings = load_settings(database_url=migrated_sqlite, broker_url="memory://", redis_url=None)
    return create_app(authenticate=told, settings=settings)


@pytest.mark.parametrize("mount", [in_fastapi, in_starlette])
def test_a_mounted_api_works_and_can_be_started_again(api: FastAPI, mount: object) -> None:
    app = mount(api)  # type: ignore[operator]
    for count in (1, 2):
        # each has a loop of its own: what the first one opened must be closed at its end
        with TestClient(app, headers=who()) as client:
            assert client.post("/turnkeeper/v1/runs", json=HELLO).status_code == 201
            assert len(client.get("/turnkeeper/v1/runs").json()["runs"]) == count


@pytest.mark.parametrize("mount", [in_fastapi, in_starlette])
def test_errors_and_ids_are_those_of_the_api(api: FastAPI, mount: object) -> None:
    with TestClient(mount(api), headers=who()) as client:  # type: ignore[operator]
        missing = client.get("/turnkeeper/v1/nothing")
        assert (missing.status_code, missing.json()["code"]) == (404, "no_route")
        wrong = client.get("/turnkeeper/v1/runs/run_x")
        assert (wrong.status_code, wrong.json()["code"]) == (404, "not_found")
        path = f"/turnkeeper/v1/sessions/{quote('a/b', safe='')}"
        assert (
            client.post(f"{path}/items", json={"items": [{"role": "user", "content": "Hi"}]}).status_code
            == 204
        )
        assert client.get(path).json()["id"] == "a/b"
        assert client.get("/turnkeeper/openapi.json").status_code == 200


def test_the_app_around_keeps_its_own_lifespan(api: FastAPI) -> None:
    story: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        story.append("begin")
        async with lifespan_with(api)(app):
            yield
        story.append("end")

    app = FastAPI(lifespan=lifespan)
    app.mount("/turnkeeper", api)
    with TestClient(app, headers=who()) as client:
        assert client.get("/turnkeeper/v1/runs").status_code == 200
    assert story == ["begin", "end"]


def test_a_dependency_of_ones_own_may_have_dependencies(migrated_sqlite: str) -> None:
    users = {"token-of-ana": ("shop", "ana@shop.example")}

    def token(authorization: str = Header(default="")) -> str:
        return authorization.removeprefix("Bearer ")

    async def current(given: str = Depends(token)) -> Credential:
        if given not in users:
            raise HTTPException(401, "log in first")
        tenant, name = users[given]
        return Credential(tenant, ["runs"], name)  # type: ignore[arg-type]

    app = create_app(
        authenticate=current, settings=load_settings(database_url=migrated_sqlite, broker_url="memory://")
    )
    with TestClient(app) as client:
        run = client.post("/v1/runs", json=HELLO, headers={"Authorization": "Bearer token-of-ana"})
        assert (run.status_code, run.json()["tenant"]) == (201, "shop")
        assert client.get("/v1/runs").json()["detail"] == "log in first"
