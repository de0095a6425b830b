"""Images and containers of a test's own, by docker or podman; what it made is gone when it is closed.

TURNKEEPER_TEST_ENGINE names another program than the first of `docker` and `podman` that answers, and
TURNKEEPER_TEST_BASE_IMAGE an image of this machine to build on in place of the one that the Dockerfile names.
That one needs Debian's `useradd`, a `python` of the same version, and pip. An index or authority of your own
goes into its pip.conf, or comes by `volumes` in podman's containers.conf.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.deploy import DEPLOY, ROOT, dockerfile
from tests.fakes.servers import Misconfigured
from tests.fakes.wait import eventually_sync

# the lines of deploy/compose.yaml: no root, no writable disk, no rights
LOCKED = (
    *("--user", "10001:10001", "--read-only", "--tmpfs", "/tmp:size=64m,mode=1777"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)
_PULL = 60.0  # seconds for the base image to come
_BUILD = 170.0


class NoEngine(Exception):
    """Nothing here builds and runs images; the text says why."""


class Container:
    """A container that was started. Its log is what it wrote to both standard output and error."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    @property
    def log(self) -> str:
        return self._engine.call("logs", self.name)

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        told = self._engine.call("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", self.name)
        running, code = told.split()[-2:]
        return None if running == "true" else int(code)

    def wait_for_log(self, text: str, *, within: float = 60.0) -> None:
        """AssertionError with the log when the container ends or time passes."""
        try:
            eventually_sync(lambda: text in self.log or self.returncode is not None, within=within, every=0.2)
        except AssertionError:
            raise AssertionError(f"no {text!r} in its log within {within:g} s:\n{self.log}") from None
        assert text in self.log, f"it ended with {self.returncode} before {text!r}:\n{self.log}"

    def stop(self, grace: int) -> int:
        """SIGTERM, after `grace` seconds SIGKILL; the code that it ended with."""
        self._engine.call("stop", "-t", str(grace), self.name, timeout=grace + 30)
        code = self.returncode
        assert code is not None
        return code

    def is_healthy(self) -> bool:
        """What its image's HEALTHCHECK says: asked now of podman, which has no clock without systemd."""
        if self._engine.is_podman:
            return self._engine.run("healthcheck", "run", self.name).returncode == 0
        told = self._engine.call("inspect", "--format", "{{.State.Health.Status}}", self.name)
        return "healthy" in told.split()


class Engine:
    """docker or podman. Raises NoEngine when there is none that runs containers of the base image."""

    def __init__(self) -> None:
        self._program = _program()
        self.is_podman = "podman" in self.run("--version").stdout.lower()
        self._mark = f"turnkeeper-test-{secrets.token_hex(4)}"
        self._containers: list[str] = []
        self._images: list[str] = []
        self.base = self._base()
        done = self.run(
            "run", "--rm", "--network", "host", *LOCKED, self.base, "python", "--version", timeout=60
        )
        if done.returncode:
            self.close()
            raise NoEngine(f"{self._program} runs no container here ({_last_line(done.stderr)})")

    def run(self, *arguments: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """A command of the engine, whatever its end."""
        return subprocess.run(
            [self._program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=ROOT,
        )

    def call(self, *arguments: str, timeout: float = 30.0) -> str:
        """The output of a command that must end well, errors too."""
        done = self.run(*arguments, timeout=timeout)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def build(self, file: Path, context: Path, name: str, instead: Mapping[str, str]) -> str:
        """The tag of an image; `instead` has for images that the file builds on those to take."""
        tag = f"localhost/{self._mark}:{name}"
        options = [f"--build-context={theirs}=docker-image://{ours}" for theirs, ours in instead.items()]
        if self.is_podman:
            # as docker does: with the HEALTHCHECK and the file's own .dockerignore, and nothing stays behind
            options += ["--format=docker", "--layers=false"]
            ignored = file.with_name(file.name + ".dockerignore")
            options += [f"--ignorefile={ignored}"] if ignored.exists() else []
        self._images.append(tag)
        self.call("build", *options, f"--file={file}", f"--tag={tag}", str(context), timeout=_BUILD)
        return tag

    def build_turnkeeper(self) -> str:
        """The image of deploy/Dockerfile as it is."""
        return self.build(DEPLOY / "Dockerfile", ROOT, "image", {_from(): self.base})

    def start(
        self, image: str, *command: str, options: Sequence[str] = (), network: str = "host"
    ) -> Container:
        """A container with the rights that compose gives it, by default on the network of this machine."""
        name = f"{self._mark}-{len(self._containers)}"
        self._containers.append(name)
        given = ("--name", name, "--network", network, *LOCKED, *options)
        self.call("run", "--detach", *given, image, *command, timeout=60)
        return Container(self, name)

    def output(self, image: str, *command: str, options: Sequence[str] = (), timeout: float = 60.0) -> str:
        """What a command in a container writes to standard output."""
        given = ("--network", "host", "--no-healthcheck", *LOCKED, *options)
        done = self.run("run", "--rm", *given, image, *command, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def size(self, image: str) -> int:
        """Bytes on disk, unpacked, its base's included."""
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image).stdout)

    def close(self) -> None:
        """Remove the containers and images that were made here."""
        for name in self._containers:
            self.run("rm", "--force", "--volumes", name, timeout=60)
        for image in reversed(self._images):
            self.run("rmi", "--force", image, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _base(self) -> str:
        given = os.environ.get("TURNKEEPER_TEST_BASE_IMAGE")
        if given and self.run("image", "inspect", given).returncode:
            raise Misconfigured(
                f"TURNKEEPER_TEST_BASE_IMAGE is {given!r}, which {self._program} does not have"
            )
        base = given or _from()
        if self.run("image", "inspect", base).returncode:
            self._images.append(base)
            self._pull(base)
        return base

    def _pull(self, image: str) -> None:
        try:
            done = self.run("pull", image, timeout=_PULL)
        except subprocess.TimeoutExpired:
            reason = f"not within {_PULL:g} s"
        else:
            if not done.returncode:
                return
            reason = _last_line(done.stderr)
        raise NoEngine(f"{image} cannot be had ({reason}); TURNKEEPER_TEST_BASE_IMAGE names one that is here")


def _program() -> str:
    if sys.platform != "linux":
        raise NoEngine("containers share the network of this machine on Linux only")
    given = os.environ.get("TURNKEEPER_TEST_ENGINE")
    reasons = []
    for name in [given] if given else ["docker", "podman"]:
        found = shutil.which(name)
        if found is None:
            reasons.append(f"no {name}")
            continue
        done = subprocess.run([found, "info"], capture_output=True, text=True, timeout=30, check=False)
        if not done.returncode:
            return found
        reasons.append(f"{name}: {_last_line(done.stderr)}")
    if given:
        raise Misconfigured(
            f"TURNKEEPER_TEST_ENGINE is {given!r}, which does not answer: {'; '.join(reasons)}"
        )
    raise NoEngine("; ".join(reasons))


def _from() -> str:
    """What deploy/Dockerfile builds on, in both of its stages."""
    (image,) = {value.partition(" AS ")[0] for instruction, value in dockerfile() if instruction == "FROM"}
    return image


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]
