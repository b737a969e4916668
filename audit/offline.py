"""Checks an export or a proof with nothing but the file and the public key.

    python -m audit.offline EXPORT --key KEY [--since CHECKPOINT]

KEY is a verifier key, a JWK set or a PEM, or a file that holds one. Needs neither Django nor a
database: Python, ``cryptography``, and the modules ``entries``, ``evidence``, ``merkle`` and
``notes`` beside this one. Exit codes: 0 good, 1 bad, 2 wrong usage, 3 nothing bad was found, but
something could not be checked, and it says what.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit.entries import commit, hash_object
from audit.evidence import Evidence, Positions, gather, keys_of, owners_of
from audit.merkle import EMPTY_ROOT, InvalidProof, Range, verify_consistency, verify_inclusion
from audit.notes import (
    Checkpoint,
    InvalidNote,
    Verifier,
    find_note,
    open_note,
    read_text,
    read_verifiers,
)

GOOD, BAD, MISUSED, OPEN = range(4)
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading raises when a file is none that the service has written."""

EXPORT, PROOF = "sexton-audit-export/1", "sexton-audit-proof/1"


class Bad(Exception):
    """It is not what was sealed. Says what, and where."""


@dataclass
class Checked:
    """What a good file holds, and what of it could not be checked: events and values that are said
    to be gone lawfully, while nothing that was signed says so yet, and why older checkpoints could
    not be compared with it."""

    checkpoint: Checkpoint
    events: int = 0
    values: int = 0
    erased: int = 0
    events_pending: int = 0
    values_pending: int = 0
    not_compared: list[str] = field(default_factory=list)


class Pending:
    """What the first line of an export claims to be going, signed by nobody."""

    def __init__(self, head: dict[str, Any]) -> None:
        claimed = head.get("pending", {})
        self.people = set(claimed.get("people", ()))
        self.positions = Positions(claimed.get("positions", ()))
        self.bare = Positions(claimed.get("bare", ()))


def check(path: Path, keys: Sequence[Verifier], since: Sequence[str] = ()) -> Checked:
    """Check a file; ``since`` are notes of older checkpoints. Raises Bad, or OSError."""
    try:
        with path.open() as file:
            head = json.loads(file.readline() or "{}")
        if head.get("form") == PROOF:
            return _check_proof(head, keys, since)
        if head.get("form") != EXPORT:
            raise Bad("It is neither an export nor a proof.")
        return _check_export(path, head, keys, since)
    except UNREADABLE as error:
        raise Bad(f"It cannot be read: {error}") from error


def _check_proof(proof: dict[str, Any], keys: Sequence[Verifier], since: Sequence[str]) -> Checked:
    checkpoint = _open(proof["checkpoint"], keys)
    leaf = hash_object(proof["event"])
    path = [bytes.fromhex(node) for node in proof["path"]]
    try:
        verify_inclusion(leaf, proof["position"], checkpoint.size, path, checkpoint.root)
    except InvalidProof as error:
        raise Bad(f"The event is not in the log that was signed: {error}.") from error
    done = Checked(checkpoint, events=1)
    for known in _open_older(since, keys):
        if known.size > checkpoint.size:
            done.not_compared.append(_newer(known, checkpoint))
        elif known.size in (0, checkpoint.size):
            _check_same(known, checkpoint.root if known.size else EMPTY_ROOT)
        elif (grown := proof.get("grown_from", {}).get(str(known.size))) is None:
            done.not_compared.append(
                f"the proof does not hold what it takes for the checkpoint of {known.size} events; "
                "one that is made with --kept CHECKPOINT does"
            )
        else:
            _check_grown(known, checkpoint, grown)
    return done


def _check_grown(known: Checkpoint, checkpoint: Checkpoint, nodes: Sequence[str]) -> None:
    path = [bytes.fromhex(node) for node in nodes]
    try:
        verify_consistency(known.size, known.root, checkpoint.size, checkpoint.root, path)
    except InvalidProof as error:
        raise _other(known) from error


def _check_same(known: Checkpoint, root: bytes) -> None:
    if known.root != root:
        raise _other(known)


def _other(known: Checkpoint) -> Bad:
    return Bad(f"The first {known.size} events are not those of the older checkpoint.")


def _newer(known: Checkpoint, checkpoint: Checkpoint) -> str:
    return (
        f"the checkpoint of {known.size} events is newer than the file, which ends after "
        f"{checkpoint.size}; if the file was made later, events are missing from it"
    )


def _check_export(
    path: Path, head: dict[str, Any], keys: Sequence[Verifier], since: Sequence[str]
) -> Checked:
    checkpoint = _open(head["checkpoint"], keys)
    done = Checked(checkpoint)
    older = _open_older(since, keys)
    # Only a whole log holds all that accounts for what is missing.
    evidence = gather(it["event"] for it in _read(path) if "event" in it)
    is_whole, has_details, pending = head["is_whole"], head["has_details"], Pending(head)
    tree = Range()
    _compare(tree, older, done)
    for line in _read(path):
        start = tree.size
        if "skip" in line:
            for level, index, node in line["skip"]:
                _skip(tree, level, index, bytes.fromhex(node))
                _compare(tree, older, done)
            if is_whole:
                _check_gap(evidence, pending, start, tree.size, done)
            continue
        if "broken" in line:
            raise Bad(f"Nothing stands for the event at position {start}: {line['broken']}.")
        if line["position"] != start:
            raise Bad(f"The event at position {start} is missing.")
        try:
            _check_details(line, evidence if is_whole and has_details else None, pending, done)
            tree.append(hash_object(line["event"]))
        except UNREADABLE as error:
            raise Bad(f"The event at position {start} cannot be read: {error}") from error
        done.events += 1
        _compare(tree, older, done)
    if tree.size != checkpoint.size:
        raise Bad(f"It ends after {tree.size} events, and {checkpoint.size} were signed.")
    if tree.root() != checkpoint.root:
        raise Bad("An event in it is not the one that was signed.")
    done.not_compared += [_newer(known, checkpoint) for known in older]
    return done


def _skip(tree: Range, level: int, index: int, node: bytes) -> None:
    if index << level != tree.size:
        raise Bad(f"The event at position {tree.size} is missing.")
    tree.append_node(level, node)


def _compare(tree: Range, older: list[Checkpoint], done: Checked) -> None:
    while older and older[0].size <= tree.size:
        known = older.pop(0)
        if known.size == tree.size:
            _check_same(known, tree.root())
        else:
            done.not_compared.append(
                f"the checkpoint of {known.size} events ends within what the file leaves out; a "
                "file that is made with --kept CHECKPOINT can be compared with it"
            )


def _check_gap(evidence: Evidence, pending: Pending, start: int, end: int, done: Checked) -> None:
    for position in range(start, end):
        if position in evidence.forgotten:
            continue
        if position not in pending.positions:
            raise Bad(f"The event at position {position} is missing.")
        done.events_pending += 1


def _check_details(
    line: dict[str, Any], evidence: Evidence | None, pending: Pending, done: Checked
) -> None:
    event, position = line["event"], line["position"]
    promised = dict(event["commitments"])
    for name, it in line.get("details", {}).items():
        if promised.pop(name, None) != commit(bytes.fromhex(it["salt"]), name, it["value"]):
            raise Bad(f"The event at position {position} has another {name} than was signed.")
        if evidence and position in evidence.bare:
            raise Bad(f"The event at position {position} has its {name} again, which was erased.")
        done.values += 1
    owners = owners_of(
        event["actor_kind"], event["actor_id"], event["person_id"], event["subject_id"]
    )
    keys = keys_of(owners, event["subject_kind"])
    if not promised or not evidence or evidence.accounts_for(position, event["at"], keys):
        done.erased += len(promised)
    elif position in pending.bare or not pending.people.isdisjoint(keys):
        done.values_pending += len(promised)
    else:
        raise Bad(f"The event at position {position} has lost a value, and nothing says why.")


def _open(note: str, keys: Sequence[Verifier], whose: str = "Its") -> Checkpoint:
    try:
        return open_note(note, keys)
    except InvalidNote as error:
        raise Bad(f"{whose} checkpoint: {error}") from error


def _open_older(notes: Sequence[str], keys: Sequence[Verifier]) -> list[Checkpoint]:
    return sorted((_open(it, keys, "The older") for it in notes), key=lambda it: it.size)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        next(file, None)
        for line in file:
            yield json.loads(line)


def read_keys(text: str, path: Path) -> list[Verifier]:
    """Return the keys of a text or file; those without a name get that of the file's log. Raises
    ValueError or OSError."""
    try:
        with path.open() as file:
            origin = read_text(json.loads(file.readline())["checkpoint"].partition("\n\n")[0])
        name = origin.origin
    except (ValueError, KeyError, InvalidNote):
        name = "unknown"
    return read_verifiers(text, name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check an export or a proof of an audit log.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--key", required=True, help="the public key, or a file that holds it")
    parser.add_argument(
        "--since", type=Path, action="append", default=[], help="an older checkpoint"
    )
    options = parser.parse_args(arguments)
    try:
        keys = read_keys(options.key, options.file)
        since = [find_note(it.read_text()) for it in options.since]
        done = check(options.file, keys, since)
    except Bad as error:
        sys.stderr.write(f"BAD: {error}\n")
        return BAD
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return MISUSED
    remarks = list(_tell_open(done))
    verdict = "Good so far" if remarks else "Good"
    at = f" of {done.checkpoint.at:%Y-%m-%d %H:%M} UTC" if done.checkpoint.at else ""
    sys.stdout.write(
        f"{verdict}: {done.events} of {done.checkpoint.size} events are those that "
        f"{done.checkpoint.origin} signed{at}; {done.values} personal values are in it.\n"
    )
    sys.stderr.writelines(f"{it}\n" for it in remarks)
    return OPEN if remarks else GOOD


def _tell_open(done: Checked) -> Iterator[str]:
    """Yield in words what could not be checked."""
    if done.events_pending or done.values_pending:
        yield (
            f"Under way: {done.events_pending} events and {done.values_pending} personal values "
            "are gone, and the file says that their removal was under way. Nobody has signed that: "
            "only a later export or verify_audit_log can confirm it."
        )
    yield from (f"Not compared: {it}." for it in done.not_compared)


if __name__ == "__main__":
    sys.exit(main())
