"""The guide for other projects is executed, line by line, in an empty folder."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "adopting.md"
BLOCK = re.compile(r"^```(\w+) (\S+.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE = 300

PACKAGES = {"typeid": "typeid-python", "ahocorasick_rs": "ahocorasick-rs"}
OPTIONAL = {
    "psycopg": "only where the database is PostgreSQL",
    "django_tasks_db": "only where it is the engine of background work",
}


class Block(NamedTuple):
    language: str
    what: str
    text: str


def read_guide() -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(GUIDE.read_text())]


def test_the_guide_works_as_it_is_written(tmp_path: Path) -> None:
    output = ""
    for block in read_guide():
        what, _, file = block.what.partition("=")
        if what in ("file", "append"):
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w" if what == "file" else "a") as out:
                out.write(block.text)
        elif what == "run":
            output = run(tmp_path, block.text)
        elif what == "run fails":
            output = run(tmp_path, block.text, code=1)
        elif what == "prints":
            for line in block.text.splitlines():
                for part in filter(None, map(str.strip, line.split("…"))):
                    assert part in output, f"{part!r} is not printed, but:\n{output}"
        else:
            assert what == "packages", f"{GUIDE.name}: nobody knows what {block.what!r} means"


def run(folder: Path, commands: str, code: int = 0) -> str:
    script = "\n".join(line.removeprefix("$ ") for line in commands.splitlines())
    here = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={
            "HOME": os.environ.get("HOME", str(folder)),
            "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
            "PYTHONWARNINGS": "error",
            "SEXTON": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, f"{script}\n{output}"
    return output


def test_the_guide_names_every_package_that_is_imported() -> None:
    (line,) = [block.text for block in read_guide() if block.what == "packages"]
    named = set(re.findall(r"[\w-]+", line.partition("install")[2].replace('"', " ")))
    imported = {
        PACKAGES.get(name, name.replace("_", "-"))
        for name in imports()
        if name not in sys.stdlib_module_names | {"erasure", "audit"} | OPTIONAL.keys()
    }
    assert imported <= named, "docs/adopting.md tells people to install too little"


def imports() -> Iterator[str]:
    """Yield the top names that ``erasure`` and ``audit`` import, the house API left out."""
    for room in ("erasure", "audit"):
        for file in (ROOT / room).rglob("*.py"):
            if "api" in file.relative_to(ROOT).parts:
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    yield from (one.name.partition(".")[0] for one in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module.partition(".")[0]
