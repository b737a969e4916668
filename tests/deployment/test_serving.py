"""The image's own command, on this machine: production settings behind the production server."""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from apikeys import keyformat
from tests.databases import VENDORS
from tests.deployment.shell import PRODUCTION, ROOT, environment, manage, python
from tests.live.servers import PATIENCE, empty_database, free_port

DOCKERFILE = (ROOT / "Dockerfile").read_text()
HOST = PRODUCTION["ALLOWED_HOSTS"]
PROXY = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
GUESS = keyformat.from_body("sk-", "g" * keyformat.BODY_LENGTH).text


@dataclass
class Service:
    port: int
    process: "subprocess.Popen[str]"
    env: dict[str, str]
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers={"Host": HOST, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> int:
        """Send SIGTERM, as a container's end does; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=PATIENCE)
        self.out, self.err = out.splitlines(), err.splitlines()
        return self.process.returncode


@contextmanager
def serve(url: str, folder: Path, static_root: Path) -> Iterator[Service]:
    """Run the image's CMD, with its port and its file of log settings moved."""
    logs = folder / "granian-logs.json"
    logs.write_text(log_settings())
    port = free_port()
    *shell, script = image_command()
    script = script.replace("--port 8000", f"--port {port}").replace(
        "/etc/granian-logs.json", shlex.quote(str(logs))
    )
    env = environment(**PRODUCTION)
    env |= {"DATABASE_URL": url, "STATIC_ROOT": str(static_root), "NUM_PROXIES": "1"}
    env |= {"WORKERS": "2", "BLOCKING_THREADS": "4", "PYTHONPATH": str(ROOT)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    process = subprocess.Popen(
        [*shell, script],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        service = Service(port, process, env)
        wait_for(service)
        yield service
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(service: Service) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert service.process.poll() is None, service.process.communicate()[1]
        try:
            if service.ask("GET", "/healthz")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the service does not answer")


def image_command() -> list[str]:
    command: list[str] = json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[-1])
    assert command[:2] == ["sh", "-c"]
    assert command[2].startswith("exec "), "without exec the shell would keep the signals"
    return command


def log_settings() -> str:
    _, _, rest = DOCKERFILE.partition("<<'JSON' /etc/granian-logs.json\n")
    return rest.partition("\nJSON\n")[0]


@pytest.fixture(params=VENDORS)
def service(request: pytest.FixtureRequest, tmp_path: Path, static_root: Path) -> Iterator[Service]:
    with empty_database(request.param, tmp_path) as url:
        migrated = manage("migrate", "--no-input", **{**PRODUCTION, "DATABASE_URL": url})
        assert migrated.returncode == 0, migrated.stderr
        with serve(url, tmp_path, static_root) as service:
            yield service


def test_the_images_command_serves_logs_and_stops(service: Service) -> None:
    assert service.ask("GET", "/healthz") == (200, b'{"status": "ok"}')
    status, body = service.ask("GET", "/readyz")
    assert (status, json.loads(body)["status"]) == (200, "ready")
    assert service.ask("GET", "/docs")[0] == 301
    assert service.ask("GET", "/docs", **PROXY)[0] == 200
    assert service.ask("GET", "/static/contracts/docs.js", **PROXY)[0] == 200

    mail = "leaky@example.com"
    path = f"/users/{mail}?token={GUESS}"
    status, body = service.ask("DELETE", path, Authorization=f"Bearer {GUESS}", **PROXY)
    assert status == 401
    assert mail.encode() not in body
    status, body = service.ask("DELETE", "/account", **{"X-API-Key": GUESS}, **PROXY)
    assert status == 401
    assert service.stop() == 0

    assert service.out == []
    lines = [json.loads(line) for line in service.err]
    said = [line["message"] for line in lines]
    assert "Starting granian" in {text.split(" (")[0] for text in said}
    # The second worker may still be on its way when the service is stopped.
    assert any(text.startswith("Started worker-") for text in said)
    requests = [line for line in lines if line["logger"] == "sexton.requests"]
    assert [line["status"] for line in requests][-2:] == [401, 401]
    assert all(re.fullmatch(r"req_[0-9a-z]{26}", line["request_id"]) for line in requests)
    assert len({line["request_id"] for line in requests}) == len(requests)
    everything = "\n".join(service.err)
    assert mail not in everything
    assert GUESS not in everything


def test_the_images_health_check_knows_a_healthy_service(service: Service) -> None:
    [text] = re.findall(r"HEALTHCHECK .*? CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    _, *args = json.loads(text)
    args[1] = args[1].replace(":8000/", f":{service.port}/")

    def check(hosts: str) -> int:
        return python(*args, ALLOWED_HOSTS=hosts).returncode

    # The service knows one host, which may be the first of several or given with a leading dot.
    assert [check(HOST), check(f" {HOST},elsewhere.example"), check(f".{HOST}")] == [0, 0, 0]
    assert check("elsewhere.example") != 0
    service.stop()
    assert check(HOST) != 0


def test_a_missing_variable_is_told_on_standard_error_by_the_server_too(
    tmp_path: Path, static_root: Path
) -> None:
    with (
        pytest.raises(AssertionError) as caught,
        serve("", tmp_path, static_root),
    ):
        pytest.fail("it started")
    assert "Set the environment variable DATABASE_URL" in str(caught.value)


def test_the_files_that_git_ignores_stay_out_of_the_image() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert "*" in rules
    assert not allowed & {".env", ".git", "var", "tests", "staticfiles"}


def test_every_package_of_ours_is_in_the_image() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    missing = packages - {rule[1:] for rule in rules if rule.startswith("!")}
    assert missing == set(), "Add the folder to .dockerignore, with a ! in front."


@pytest.mark.parametrize("word", ["USER sexton", "--require-hashes", "ENVIRONMENT=production"])
def test_the_image_is_built_as_the_guide_says(word: str) -> None:
    assert word in DOCKERFILE


def test_collecting_files_at_build_needs_no_secret_of_anybodys(tmp_path: Path) -> None:
    [lines] = re.findall(r"^RUN (SECRET_KEY=(?:.*\\\n)+)", DOCKERFILE, re.MULTILINE)
    words = shlex.split(lines.replace("\\\n", " "))
    build: dict[str, Any] = dict(word.split("=", 1) for word in words)
    build["DATABASE_URL"] = f"sqlite:///{tmp_path / 'build.sqlite3'}"
    build |= {"ENVIRONMENT": "production", "STATIC_ROOT": str(tmp_path / "static")}
    done = manage("collectstatic", "--no-input", **build)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "static" / "staticfiles.json").exists()
