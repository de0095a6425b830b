"""deploy/compose.yaml: it fits the specification, holds no secret, gives processes what they need alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fakes.deploy import (
    DEPLOY,
    MARGIN,
    Unset,
    compose,
    dockerfile,
    env_file,
    seconds,
    variables_of_compose,
)
from tests.unit.test_docs import parse
from turnkeeper.cli.main import app as command_line
from turnkeeper_storage.items import Json
from turnkeeper_storage.roles import creation, role_name
from turnkeeper_storage.settings import Settings

PASSWORDS = [
    "POSTGRES_PASSWORD",
    "MIGRATE_PASSWORD",
    "WORKER_PASSWORD",
    "WEB_PASSWORD",
    "OPERATOR_PASSWORD",
    "REDIS_PASSWORD",
]
OURS = ["migrate", "api", "worker"]


def services(**more: str) -> dict[str, dict[str, Json]]:
    read: dict[str, dict[str, Json]] = compose({**dict.fromkeys(PASSWORDS, "secret"), **more})["services"]
    return read


def test_it_fits_the_schema_of_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    file = DEPLOY / "compose.yaml"
    done = subprocess.run([*command, file], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", PASSWORDS)
def test_it_starts_nothing_without_a_password_of_its_own(name: str) -> None:
    with pytest.raises(Unset, match=name):
        services(**{name: ""})


def test_the_example_of_its_variables_has_all_of_them_and_no_password() -> None:
    text = (DEPLOY / "compose.env.example").read_text(encoding="utf-8")
    named = {line.lstrip("#").partition("=")[0] for line in text.splitlines() if "=" in line}
    assert variables_of_compose() <= named
    given = env_file(DEPLOY / "compose.env.example")
    assert {name: given[name] for name in PASSWORDS} == dict.fromkeys(PASSWORDS, "")


@pytest.mark.parametrize("name", OURS)
def test_our_processes_have_no_rights_that_they_do_not_need(name: str) -> None:
    service = services()[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert "privileged" not in service


@pytest.mark.parametrize("name", OURS)
def test_our_processes_log_in_as_their_role_and_know_only_settings(name: str) -> None:
    role = {"migrate": "migrate", "api": "web", "worker": "worker"}[name]
    environment = services()[name]["environment"]
    assert f"//{role_name('turnkeeper', role)}:secret@" in environment["TURNKEEPER_DATABASE_URL"]
    settings = {str(one).removeprefix("TURNKEEPER_").lower() for one in environment if one != "PYTHONPATH"}
    assert settings <= set(Settings.model_fields)


@pytest.mark.parametrize("name", OURS)
def test_mounted_agents_do_not_hide_those_of_an_image(name: str) -> None:
    (mount,) = services()[name]["volumes"]
    inside = mount.split(":")[1]
    assert inside not in [value for instruction, value in dockerfile() if instruction == "WORKDIR"]
    assert services()[name]["environment"]["PYTHONPATH"] == inside


def test_the_database_is_not_healthy_while_its_first_scripts_run() -> None:
    # the server of that time listens on no port
    assert "--host" in services()["postgres"]["healthcheck"]["test"]


@pytest.mark.parametrize("name", OURS)
def test_an_image_of_ones_own_is_not_built_over(name: str) -> None:
    assert services(IMAGE="registry.example/mine:1")[name]["image"] == "registry.example/mine:1"
    assert "build" not in services()[name]


@pytest.mark.parametrize("name", OURS)
def test_our_commands_are_ones_that_there_are(name: str) -> None:
    import typer

    parse(typer.main.get_command(command_line), [str(word) for word in services()[name]["command"]])


def test_a_worker_has_its_grace_time_and_some_more_before_it_is_killed() -> None:
    worker = services()["worker"]
    grace = float(worker["environment"]["TURNKEEPER_GRACE_SECONDS"])
    assert seconds(worker["stop_grace_period"]) >= grace + MARGIN


def test_nothing_works_before_the_tables_are_migrated() -> None:
    for name in ("api", "worker"):
        depends = services()[name]["depends_on"]
        assert depends["migrate"] == {"condition": "service_completed_successfully"}
    assert services()["migrate"]["restart"] == "no"


def test_only_the_api_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: one["ports"] for name, one in services().items() if "ports" in one}
    assert published == {"api": ["127.0.0.1:8700:8700"]}
    whole = compose(dict.fromkeys(PASSWORDS, "secret"))
    assert whole["networks"]["inside"] == {"internal": True}
    assert services()["postgres"]["networks"] == services()["redis"]["networks"] == ["inside"]


def test_workers_are_as_many_as_wanted() -> None:
    assert int(services()["worker"]["deploy"]["replicas"]) == 2
    assert int(services(WORKERS="4")["worker"]["deploy"]["replicas"]) == 4


def test_rabbitmq_can_take_the_place_of_the_broker() -> None:
    changed = services(BROKER_URL="amqp://turnkeeper:p@rabbitmq:5672//")["worker"]["environment"]
    assert changed["TURNKEEPER_BROKER_URL"] == "amqp://turnkeeper:p@rabbitmq:5672//"
    assert changed["TURNKEEPER_REDIS_URL"].startswith("redis://:secret@redis")
    assert services()["rabbitmq"]["profiles"] == ["rabbitmq"]


def test_images_of_others_are_of_a_named_version() -> None:
    for name, service in services().items():
        if name not in OURS:
            assert service["image"].partition(":")[2] not in ("", "latest"), name


def test_the_roles_are_those_of_the_command() -> None:
    made = (DEPLOY / "sql/roles.sql").read_text(encoding="utf-8")
    for statement in creation("turnkeeper", "public", "turnkeeper"):
        assert f"{statement};\n" in made, "run: turnkeeper roles > deploy/sql/roles.sql"
    assert made.count(";\n") == len(creation("turnkeeper", "public", "turnkeeper")) + 2
