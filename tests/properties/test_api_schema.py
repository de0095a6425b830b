"""The whole OpenAPI with what nobody would send: no 5xx, and no answer that the schema does not tell of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis import checks as known
from schemathesis.specs.openapi import checks as openapi_checks

from tests.conformance.desk import LEASE_SECONDS
from tests.conformance.parking import Parking
from tests.fakes import databases
from tests.fakes.api import make_client, serving, told, who
from turnkeeper_api import Scope, create_app
from turnkeeper_client.portal import Portal
from turnkeeper_storage.database import Database
from turnkeeper_storage.settings import load_settings

DOCUMENT = create_app(authenticate=told, settings=load_settings(broker_url="memory://")).openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [f"{method.upper()} {path}" for path, item in DOCUMENT["paths"].items() for method in item]
EXAMPLES = 20
CHECKS = [
    known.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
]
EVERYBODY = who(scopes=[*Scope])


@pytest.fixture(scope="module")
def site(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, str]]]:
    path = tmp_path_factory.mktemp("schema") / "turnkeeper.db"
    shutil.copyfile(sqlite_template, path)
    url = databases.sqlite_url(path)
    portal = Portal()
    client = make_client(url, api_wait_seconds=0.01, api_stream_seconds=1.0, max_queued_per_session="none")
    server = serving(create_app(client=client, authenticate=told))

    async def begin() -> tuple[str, dict[str, str]]:
        database = Database(url, lease_seconds=LEASE_SECONDS)
        parked = await Parking(database).parked("call_1", "call_2")
        await database.aclose()
        run = await client.get(parked.run.id)
        ids = {"run_id": run.id, "session_id": "s", "approval_id": run.approvals[0].id, "name": "support"}
        return await server.__aenter__(), ids

    async def end() -> None:
        await server.__aexit__(None, None, None)
        await client.aclose()

    try:
        yield portal.run(begin())
    finally:
        portal.run(end())
        portal.close()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_request_breaks_the_schema(operation: str, site: tuple[str, dict[str, str]]) -> None:
    base_url, ids = site
    method, path = operation.split(" ")
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    cases = st.one_of(*(SCHEMA[path][method].as_strategy(generation_mode=mode) for mode in modes))

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, knows=st.booleans())
    def call(case: Case[Any], knows: bool) -> None:
        if knows:
            # otherwise nearly all of them are 404
            case.path_parameters.update({name: ids[name] for name in case.path_parameters if name in ids})
        response = case.call(base_url=base_url, headers=EVERYBODY, timeout=30)
        case.validate_response(response, checks=CHECKS)

    call()
