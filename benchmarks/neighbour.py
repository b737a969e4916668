"""Small requests on another organization, one after the other, while somebody tears one down.

python -m benchmarks.neighbour   (with DATABASE_URL; ends when standard input closes)

Prints the moment and the seconds of each request. A request is what a page of comments costs: the
organization is read, twenty comments are read, one is written, one task is changed.
"""

import os
import select
import sys
import time
import uuid

import psycopg

PAUSE = 0.004
"""Seconds between two requests: the neighbour uses the machine and does not fill it."""

HOME = "00000000-0000-7000-8000-000000000001"
TASKS = (
    "SELECT t.id FROM estate_task AS t JOIN estate_project AS p ON p.id = t.project_id "
    "WHERE p.organization_id = %s ORDER BY t.id LIMIT 500"
)


def main() -> None:
    told: list[str] = []
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        tasks = [row[0] for row in connection.execute(TASKS, [HOME]).fetchall()]
        print("ready", flush=True)
        number = 0
        while not select.select([sys.stdin], [], [], PAUSE)[0]:
            number += 1
            started = time.perf_counter()
            ask(connection, tasks[number * 7 % len(tasks)])
            told.append(f"{time.time():.4f} {time.perf_counter() - started:.6f}")
    print("\n".join(told))


def ask(connection: psycopg.Connection[object], task: object) -> None:
    with connection.transaction():
        connection.execute("SELECT name FROM organizations_organization WHERE id = %s", [HOME])
        connection.execute(
            "SELECT id, body FROM estate_comment WHERE task_id = %s ORDER BY id DESC LIMIT 20",
            [task],
        ).fetchall()
        connection.execute(
            "INSERT INTO estate_comment (id, task_id, body) VALUES (%s, %s, 'a comment')",
            [uuid.uuid4(), task],
        )
        connection.execute("UPDATE estate_task SET title = 'changed' WHERE id = %s", [task])


if __name__ == "__main__":
    main()
