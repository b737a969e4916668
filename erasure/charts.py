"""The map of erasure as text: a table, a page of documentation, a Mermaid diagram, JSON."""

from dataclasses import asdict
from typing import Any

from erasure.mapping import Entry, Rule
from erasure.subjects import kind_names

HEAD = """\
# Map of erasure

Written by `manage.py erasure_map --format markdown`; do not edit it. What happens to each table
when a subject is erased, and which of its fields are personal: the part of the record of processing
activities (Art. 30 GDPR) that the database can tell.

*Deleted*: the row goes. *Detached*: the row stays, its link is cleared. *Anonymised*: the row
stays, the named fields are overwritten. *Kept*: the row stays as it is.

| table | personal fields | when this is erased | found by | fate | why |
|---|---|---|---|---|---|"""


def as_json(entries: list[Entry]) -> list[dict[str, Any]]:
    """Return the map ready for JSON."""
    return [asdict(entry) for entry in entries]


def as_table(entries: list[Entry]) -> str:
    """Return the map as lines for a terminal: a line for each rule."""
    rows = [("MODEL", "SUBJECT", "FATE", "FOUND BY", "PERSONAL", "WHY")]
    for entry in entries:
        personal = ", ".join([*entry.personal, *entry.secret]) or "-"
        if not entry.rules:
            rows.append((entry.label, "nobody", "-", "-", personal, entry.nobody))
        for rule in entry.rules:
            found = ", ".join(rule.through)
            who = tell_subjects(rule)
            rows.append((entry.label, who, rule.outcome, found, personal, tell_reason(rule)))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[5]]).rstrip())
    return "\n".join(lines)


def as_markdown(entries: list[Entry]) -> str:
    """Return the map as a page of the documentation, diagram included."""
    lines = [HEAD]
    for entry in entries:
        names = [f"`{name}`" for name in [*entry.personal, *entry.secret]]
        first = [f"`{entry.label}`", ", ".join(names) or "none"]
        for rule in entry.rules:
            found = ", ".join(f"`{name}`" for name in rule.through)
            cells = [*first, tell_subjects(rule), found, rule.outcome, tell_reason(rule)]
            lines.append(f"| {' | '.join(cells)} |")
            first = ["", ""]
    lines += ["", "## About nobody", "", "| table | why |", "|---|---|"]
    lines += [f"| `{entry.label}` | {entry.nobody} |" for entry in entries if not entry.rules]
    lines += ["", "## Fields that could hold anything, and do not", ""]
    lines += ["| field | why |", "|---|---|"]
    for entry in entries:
        lines += [f"| `{entry.label}.{name}` | {why} |" for name, why in entry.harmless.items()]
    lines += ["", "## Diagram", "", "```mermaid", as_mermaid(entries), "```"]
    return "\n".join(lines)


def as_mermaid(entries: list[Entry]) -> str:
    """Return the map as a Mermaid diagram: what leads to what, and what becomes of it."""
    bound = [entry for entry in entries if entry.rules]
    lines = ["flowchart LR"]
    lines += [f'    kind_{kind}(["{kind}"])' for kind in kind_names()]
    lines += [f'    {_node(entry.label)}["{entry.label}"]' for entry in bound]
    for entry in bound:
        for rule in entry.rules:
            arrow = "-->" if rule.outcome == "deleted" else "-.->"
            starts = [_node(label) for label in rule.parents]
            if not rule.parents or len(rule.through) > len(rule.parents):
                starts += [f"kind_{kind}" for kind in rule.subjects]
            lines += [f"    {one} {arrow}|{rule.outcome}| {_node(entry.label)}" for one in starts]
    return "\n".join(dict.fromkeys(lines))


def tell_subjects(rule: Rule) -> str:
    """Return whose erasure a rule is about."""
    return "any subject" if list(rule.subjects) == kind_names() else ", ".join(rule.subjects)


def tell_reason(rule: Rule) -> str:
    """Return why rows stay, on what ground and how long; empty for those that go."""
    parts = [rule.because]
    if rule.overwritten:
        parts.append(f"Overwritten: {', '.join(rule.overwritten)}.")
    if rule.basis:
        parts.append(f"{rule.basis}; {rule.retention}.")
    return " ".join(part for part in parts if part)


def _node(label: str) -> str:
    return label.replace(".", "_")
