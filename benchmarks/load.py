"""The load: a few keep-alive connections, one request at a time on each, from one cheap process.

Run as ``python -m benchmarks.load PORT CLIENTS SECONDS FILE``; FILE holds a JSON list of requests.
Answers are kept as they came and looked at when the clock has stopped, so that looking costs the
servers nothing.
"""

import gc
import json
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A kernel deals new connections to the two workers as it pleases, 6 to 2 as often as 4 to 4. A hand
# that is dealt again after this many requests evens out; a connect is cheap beside them.
REQUESTS_PER_CONNECTION = 100


@dataclass
class Line:
    """One connection and the request that is under way on it."""

    socket: socket.socket
    left: int = REQUESTS_PER_CONNECTION
    number: int = -1
    started: float = 0.0
    answer: bytes = b""


@dataclass
class Run:
    port: int
    requests: list[dict[str, str]]
    latencies: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def drive(self, clients: int, limit: float) -> float:
        """Send every request and return the seconds that it took; TimeoutError past the limit."""
        payloads = [build(request) for request in self.requests]
        self.latencies = [0.0] * len(payloads)
        self.answers = [b""] * len(payloads)
        poll = select.epoll()
        lines: dict[int, Line] = {}
        waiting, done = iter(range(len(payloads))), 0

        def send(line: Line) -> None:
            if (number := next(waiting, None)) is None:
                self._close(poll, lines, line)
                return
            if not line.left:
                self._close(poll, lines, line)
                line = self._open(poll, lines)
            line.left -= 1
            line.number, line.answer = number, b""
            line.started = time.perf_counter()
            line.socket.sendall(payloads[number])

        gc.disable()
        began = time.perf_counter()
        for _ in range(min(clients, len(payloads))):
            send(self._open(poll, lines))
        while done < len(payloads):
            ready = poll.poll(5)
            if time.perf_counter() - began > limit:
                raise TimeoutError(f"{done} of {len(payloads)} answers after {limit} seconds")
            for number, _ in ready:
                line = lines[number]
                chunk = line.socket.recv(65536)
                line.answer += chunk
                if is_complete(line.answer):
                    self.latencies[line.number] = time.perf_counter() - line.started
                    self.answers[line.number] = line.answer
                    done += 1
                    send(line)
                elif not chunk:
                    raise ConnectionError(f"The server hung up after {line.answer!r}.")
        return time.perf_counter() - began

    def _open(self, poll: select.epoll, lines: dict[int, Line]) -> Line:
        line = Line(socket.create_connection(("127.0.0.1", self.port), timeout=30))
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines[line.socket.fileno()] = line
        poll.register(line.socket, select.EPOLLIN)
        return line

    def _close(self, poll: select.epoll, lines: dict[int, Line], line: Line) -> None:
        poll.unregister(line.socket)
        del lines[line.socket.fileno()]
        line.socket.close()

    def failures(self) -> list[str]:
        """Return what is wrong with the answers: each must be a 200 that names its user."""
        return [
            answer.decode(errors="replace")
            for request, answer in zip(self.requests, self.answers, strict=True)
            if not answer.startswith(b"HTTP/1.1 200 ")
            or not succeeds(answer, request["path"].rpartition("/")[2])
        ]


def build(request: dict[str, str]) -> bytes:
    headers = [f"DELETE {request['path']} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: benchmark"]
    if request["header"]:
        headers.append(f"{request['header']}: {request['value']}")
    return "\r\n".join([*headers, "", ""]).encode()


def is_complete(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    _, found, rest = head.lower().partition(b"content-length:")
    if found:
        return len(body) >= int(rest.partition(b"\r\n")[0])
    return body.endswith(b"0\r\n\r\n")


def succeeds(answer: bytes, user_id: str) -> bool:
    """Whether a complete answer is a success that names its user, in one chunk or whole."""
    text = answer.partition(b"\r\n\r\n")[2]
    body: dict[str, Any] = json.loads(text[text.index(b"{") : text.rindex(b"}") + 1])
    return body.get("success") is True and str(body.get("user_id")) == user_id


def main() -> None:
    port, clients, limit, file = sys.argv[1:]
    run = Run(int(port), json.loads(Path(file).read_text()))
    before = time.process_time()
    seconds = run.drive(int(clients), float(limit))
    used = time.process_time() - before
    failures = run.failures()
    report = {
        "seconds": seconds,
        "client_seconds": used,
        "latencies": run.latencies,
        "failed": len(failures),
        "first_failure": failures[0] if failures else "",
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
