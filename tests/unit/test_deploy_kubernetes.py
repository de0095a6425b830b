"""deploy/kubernetes: manifests that Kubernetes takes, on routes, secrets and tables that there are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import psycopg
import pytest
import typer
import yaml

from tests.fakes.api import api_of
from tests.fakes.deploy import DEPLOY, MARGIN, env_file, manifests
from tests.fakes.roles import roles_made
from tests.unit.test_docs import parse
from turnkeeper.cli.main import app as command_line
from turnkeeper_storage.items import Json
from turnkeeper_storage.migrate import grant, upgrade
from turnkeeper_storage.roles import role_name
from turnkeeper_storage.settings import Settings

FOLDER = DEPLOY / "kubernetes"
BASE = manifests(FOLDER / "base")
EXAMPLE = FOLDER / "overlays/example"
# the oldest that is looked at after a year, and one of the newest that the schemas know
VERSIONS = ["1.31", "1.36"]
AUTOSCALING = manifests(FOLDER / "components/keda")


def named(one: dict[str, Json]) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def of(kind: str, name: str) -> dict[str, Json]:
    (found,) = (one for one in BASE if named(one) == f"{kind}/{name}")
    return found


WORKLOADS = [one for one in BASE if one["kind"] in ("Deployment", "Job")]


def pod(workload: dict[str, Json]) -> dict[str, Json]:
    template: dict[str, Json] = workload["spec"]["template"]["spec"]
    return template


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("one", [*BASE, *manifests(EXAMPLE)], ids=named)
def test_a_manifest_fits_the_schema_of_kubernetes(one: dict[str, Json], version: str) -> None:
    kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("one", WORKLOADS, ids=named)
def test_a_pod_fits_the_restricted_standard(one: dict[str, Json]) -> None:
    spec = pod(one)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("one", WORKLOADS, ids=named)
def test_a_container_runs_a_command_that_there_is_with_settings_that_there_are(one: dict[str, Json]) -> None:
    (container,) = pod(one)["containers"]
    parse(typer.main.get_command(command_line), [str(word) for word in container["args"]])
    settings = [str(name) for name in of("ConfigMap", "turnkeeper-settings")["data"] if "TURNKEEPER" in name]
    assert {name.removeprefix("TURNKEEPER_").lower() for name in settings} <= set(Settings.model_fields)
    sources = [part["name"] for source in container["envFrom"] for part in source.values()]
    role = {"migrate": "migrate", "worker": "worker", "api": "web"}[container["name"]]
    assert sources == ["turnkeeper-settings", f"turnkeeper-{role}"]


@pytest.mark.parametrize("role", ["migrate", "worker", "web"])
def test_the_example_logs_in_as_the_role_of_its_secret_over_tls_and_holds_no_password(role: str) -> None:
    given = env_file(EXAMPLE / f"{role}.env")
    url = given["TURNKEEPER_DATABASE_URL"]
    assert url.startswith(f"postgresql://{role_name('turnkeeper', role)}:PASSWORD@")
    assert "sslmode=verify-full" in url
    assert all("PASSWORD" in value for value in given.values())
    assert all(value.startswith("rediss://") for name, value in given.items() if "BROKER" in name)


def test_a_worker_has_its_grace_time_and_some_more_before_it_is_killed() -> None:
    grace = float(of("ConfigMap", "turnkeeper-settings")["data"]["TURNKEEPER_GRACE_SECONDS"])
    given = pod(of("Deployment", "turnkeeper-worker"))["terminationGracePeriodSeconds"]
    assert given >= grace + MARGIN


async def test_the_probes_ask_routes_that_there_are(migrated_sqlite: str) -> None:
    (container,) = pod(of("Deployment", "turnkeeper-api"))["containers"]
    probes = {
        name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    async with api_of(migrated_sqlite) as app:
        routes = set(app.openapi()["paths"])
    assert {probe["path"] for probe in probes.values()} <= routes
    # a database that is away must not have every process started anew
    assert probes["livenessProbe"]["path"] == "/livez"
    assert probes["readinessProbe"]["path"] == "/readyz"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert str(ports["http"]) in container["args"]
    settings = of("ConfigMap", "turnkeeper-settings")["data"]
    assert str(ports["metrics"]) == settings["TURNKEEPER_METRICS_PORT"]
    assert of("Service", "turnkeeper-api")["spec"]["ports"][0]["targetPort"] == "http"


@pytest.mark.parametrize("name", ["worker", "api"])
def test_what_selects_pods_finds_those_of_its_deployment(name: str) -> None:
    deployment = of("Deployment", f"turnkeeper-{name}")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        of("PodDisruptionBudget", f"turnkeeper-{name}")["spec"]["selector"]["matchLabels"],
    ]
    assert selectors == [labels, labels]
    assert of("NetworkPolicy", "turnkeeper")["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.fixture
def as_web(postgres_database: str) -> Iterator[psycopg.Connection]:
    """A connection of the role that the autoscaler is given, and a superuser's to move things."""
    with roles_made(postgres_database) as site:
        upgrade(site.as_role("migrate"))
        grant(site.as_role("migrate"), site.prefix)
        with psycopg.connect(postgres_database, autocommit=True) as superuser:
            superuser.execute(
                "INSERT INTO turnkeeper_sessions (session_key, tenant, id, runnable_since, lease_until,"
                " lease_id, created_at, updated_at) SELECT n::text, 't', n::text,"
                " clock_timestamp() - n * interval '10 seconds',"
                " CASE WHEN n > 3 THEN clock_timestamp() + interval '30 seconds'"
                "      WHEN n = 3 THEN clock_timestamp() - interval '1 second' END,"
                " CASE WHEN n >= 3 THEN 'l' END, now(), now() FROM generate_series(1, 8) n"
            )
        with psycopg.connect(site.as_role("web"), autocommit=True) as connection:
            yield connection


def test_the_autoscaler_asks_how_long_the_oldest_waits_and_how_many_are_in_work(
    as_web: psycopg.Connection,
) -> None:
    (scaled,) = (one for one in AUTOSCALING if one["kind"] == "ScaledObject")
    age, in_work = (trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"])
    waits = as_web.execute(age.encode()).fetchone()
    assert waits is not None
    # of those without a holder, or with one whose lease is over; not of those in work, which are older
    assert 30 <= float(waits[0]) < 40
    assert as_web.execute(in_work.encode()).fetchone() == (5,)


def test_the_autoscaler_is_told_of_a_deployment_and_a_secret_that_there_are() -> None:
    scaled, access = sorted(AUTOSCALING, key=lambda one: str(one["kind"]))
    assert scaled["spec"]["scaleTargetRef"]["name"] == "turnkeeper-worker"
    (asked,) = access["spec"]["secretTargetRef"]
    assert asked["name"] in {f"turnkeeper-{role}" for role in ("web", "worker")}
    assert asked["key"] in env_file(EXAMPLE / "web.env")
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["authenticationRef"]["name"] == access["metadata"]["name"]
    limit = float(scaled["spec"]["triggers"][1]["metadata"]["targetQueryValue"])
    assert limit < Settings.model_fields["concurrency"].default


@pytest.mark.parametrize("folder", ["base", "overlays/example", "components/keda"])
def test_a_kustomization_names_files_that_there_are(folder: str) -> None:
    here = FOLDER / folder
    read = yaml.safe_load((here / "kustomization.yaml").read_text(encoding="utf-8"))
    for path in [*read.get("resources", []), *read.get("components", [])]:
        assert (here / path).exists(), path
    files = {file.name for file in here.glob("*.yaml")} - {"kustomization.yaml"}
    assert files <= set(read["resources"])


def test_kustomize_makes_of_the_example_what_kubernetes_takes() -> None:
    built = rendered(EXAMPLE)
    assert {one["metadata"].get("namespace", "agents") for one in built} == {"agents"}
    deployments = {one["metadata"]["name"]: one for one in built if one["kind"] == "Deployment"}
    assert "replicas" not in deployments["turnkeeper-worker"]["spec"]
    for one in built:
        for container in one.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            assert container["image"] == "registry.example/agents:1"
        if not one["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    names = {named(one) for one in built}
    assert {"Secret/turnkeeper-web", "Secret/turnkeeper-worker", "Secret/turnkeeper-migrate"} <= names
    (settings,) = (one["data"] for one in built if one["kind"] == "ConfigMap")
    assert {"TURNKEEPER_GRACE_SECONDS", "TURNKEEPER_CONCURRENCY"} <= set(settings)


def rendered(folder: Path) -> list[dict[str, Json]]:
    """What kustomize makes of a folder; skipped where nobody has it."""
    for argv in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(argv[0]):
            done = subprocess.run([*argv, folder], capture_output=True, text=True, timeout=60, check=True)
            return list(yaml.safe_load_all(done.stdout))
    pytest.skip("NOT RENDERED: neither kustomize nor kubectl is on this machine")
