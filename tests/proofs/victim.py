"""A process that is killed while it purges.

``Victim`` starts an interpreter once; that one forks for each thing to do, so that a death costs no
second start. A fork is a process of its own: it opens its own connections and is ended by SIGKILL,
by itself at a commit or from outside at any instant.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.live.servers import ROOT

WRITES = ("INSERT", "UPDATE", "DELETE")


class Victim:
    """Does things in processes of its own, which may die. ``scene`` is the module that has them."""

    def __init__(self, url: str, folder: Path, scene: str = "tests.proofs.scene") -> None:
        names = {
            "DATABASE_URL": url,
            "VAR_DIR": str(folder),
            "ERASURE_LEDGER": str(folder / "ledger.jsonl"),
            "EMAIL_URL": "memorymail://",
            "LOG_LEVEL": "ERROR",
            "PYTHONPATH": str(ROOT),
        }
        self.log = folder / "victim.log"
        self._errors = self.log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.proofs.victim", scene],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **names},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def do(self, what: str, **arguments: Any) -> Any:
        """Return what a function of ``scene`` returned, or None when its process was killed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self.log.read_text()
        told = json.loads(answer)
        if told["status"] == -signal.SIGKILL:
            return None
        assert told["status"] == 0, f"{what} {arguments}: {self.log.read_text()[-5_000:]}"
        return told["returned"]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout
        self._process.stdout.close()
        self._errors.close()


@contextmanager
def a_victim(url: str, folder: Path, scene: str = "tests.proofs.scene") -> Iterator[Victim]:
    victim = Victim(url, folder, scene)
    try:
        yield victim
    finally:
        victim.close()


# --- in the process itself --------------------------------------------------------------------


def serve() -> None:
    import django

    django.setup()
    scene = import_module(sys.argv[1])
    scene.warm_up()
    answers = os.fdopen(os.dup(1), "w")
    # Mails and messages of the work go where the errors go.
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        call = getattr(scene, order.pop("what"))
        if call.__name__ == "rehearse":
            answers.write(json.dumps({"status": 0, "returned": call()}) + "\n")
            answers.flush()
            continue
        status, returned = run_apart(call, order.pop("after", None), order)
        answers.write(json.dumps({"status": status, "returned": returned}) + "\n")
        answers.flush()


def run_apart(call: Callable[..., Any], after: float | None, arguments: Any) -> tuple[int, Any]:
    """Run a call in a fork, killed ``after`` so many seconds if it lives that long."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.close(reading)
            returned = call(**arguments)
            with os.fdopen(writing, "w") as pipe:
                json.dump(returned, pipe)
            status = 0
        except BaseException:  # noqa: BLE001 - the fork ends here, whatever happened
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    if after is not None:
        # What it has to say comes at its end, and then there is nothing to wait for.
        select.select([reading], [], [], after)
        # Dead or alive: until it is waited for, its number is nobody else's.
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, how = os.waitpid(child, 0)
    status = os.waitstatus_to_exitcode(how)
    return status, json.loads(text) if status == 0 else None


class Boundaries:
    """Counts the commits of this process and ends it at the one that is wanted."""

    def __init__(self, wanted: int, side: str) -> None:
        self.wanted, self.side = wanted, side
        self.passed = 0

    def watch(self) -> None:
        from django.db import connection
        from django.db.backends.base.base import BaseDatabaseWrapper

        commit: Any = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

        def counted(wrapper: Any) -> Any:
            return self._pass(lambda: commit(wrapper))

        def execute(run: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            # What is written outside of a transaction commits by itself. Another thread may write
            # over this connection, and would know one of its own.
            if context["connection"].in_atomic_block or not sql.startswith(WRITES):
                return run(sql, params, many, context)
            return self._pass(lambda: run(sql, params, many, context))

        BaseDatabaseWrapper._commit = counted  # type: ignore[attr-defined]
        connection.execute_wrappers.append(execute)

    def _pass(self, commit: Callable[[], Any]) -> Any:
        self.passed += 1
        if (self.passed, self.side) == (self.wanted, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        done = commit()
        if (self.passed, self.side) == (self.wanted, "after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return done


if __name__ == "__main__":
    serve()
