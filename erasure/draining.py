"""The removal of a large subject's rows, as many in a transaction as fit into the time that others
can wait.

Rows go branch by branch, leaves first, each parent right after its children: a parent that goes
later makes the database read past all the dead entries of its children again. Where nothing hangs
on the children the database's own cascade takes them, which costs half of two statements, and
PostgreSQL says how many rows of which table the transaction has removed.

The walk lives in memory; in the database stands how far it is among the subject's own branches. So
a crash, or a transaction that comes to nothing, costs the rest of one branch's batch to find again.
"""

from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import OperationalError, connection, transaction

from erasure import carrying
from erasure.branches import Branch, Keys, Statement
from erasure.chunks import Stretch, Stretches
from erasure.locking import bound_plans
from erasure.stock import Stock
from erasure.tally import Tally

if TYPE_CHECKING:
    from erasure.closure import Closure

GOAL = 0.012
"""Seconds that one statement should take: the clock is looked at between two."""

CLEARED = 0.06
"""Seconds in which a batch of rows with several generations below should be cleared."""

ALLOWED = 0.05
"""Seconds after which PostgreSQL cancels a statement, which is then tried on fewer rows."""

LOOKS = 50
"""At most so many times is one index read past."""

APART = 16
"""From so few parents on rows are taken of one after the other, where an index has their order."""

FIRST, MOST = 64, 20_000
"""Rows that the first statement of a branch names, and that one names at most."""


@dataclass(frozen=True)
class _Work:
    """What a statement is about: how many rows of what it names, or among what it looks for them.
    Of nothing, when it can be tried again as it is."""

    branch: Branch | str = ""
    asked: int = 0
    is_finding: bool = False
    among: "_Batch | None" = None


class Moved(Exception):
    """Rows of an unfinished batch have passed to somebody else; the walk starts again."""


@dataclass
class _Batch:
    """Rows that are about to go, and those above that they hang on."""

    branch: Branch
    keys: Keys
    above: Keys


@dataclass
class _Stride:
    """How many rows one statement of a branch names."""

    size: float

    def observe(self, asked: int, seconds: float, goal: float, *, finding: float = 0.0) -> None:
        """Take in that so many rows went in so many seconds, after ``finding`` them. Where the
        database sorts, that takes the same for a few rows as for many, so that taking fewer for
        it would make the whole take for ever."""
        goal = max(goal, min(finding, ALLOWED))
        if seconds > goal or asked >= int(self.size):
            wanted = self.size * min(2.0, max(0.3, goal / max(seconds, 1e-4)))
            self.size = min(MOST, max(1, wanted))


@dataclass
class Drain:
    """The drain of one subject by one worker. ``cursor`` is what an earlier one has stored."""

    closure: "Closure"
    subject_id: UUID
    spare: Collection[str] = ()
    cursor: Mapping[str, Any] = field(default_factory=dict)
    allowed: float = ALLOWED
    is_done: bool = False

    def __post_init__(self) -> None:
        self.stretches = Stretches(self.closure, self.subject_id, self.spare)
        self.place = _place_of(self.cursor)
        self.strides: dict[Branch | str, _Stride] = {}
        self.wide: set[Branch] = set()
        """Branches with rows on which too much hangs for one cascade."""
        self.stock = Stock(self.closure)
        self.usually = self.allowed
        # Composed here and not while rows are locked.
        self.stretches.parts()
        self._moves: Iterator[None] | None = None
        self._held: list[_Batch] = []
        self._at_work = _Work()
        self._left: int | None = None
        self._number = self._gone = 0
        self._is_last = False

    def work(self, *, seconds: float, limit: int | None = None) -> tuple[Tally, dict[str, Any]]:
        """Remove rows for so long in the caller's transaction, about ``limit`` at most, and return
        what was done, and the cursor, without ``at`` when nothing but the subject's own row is
        left.

        When the transaction comes to nothing, ``lose`` must be called. Raises Moved, or whatever
        the database says.
        """
        started, self._left = perf_counter(), limit
        self._number += 1
        self.tally = Tally()
        before = self._prepare()
        if self._moves is None:
            self._moves = self._walk()
        for _ in self._moves:
            is_spent = self._left is not None and self._left <= 0
            if is_spent or perf_counter() - started + GOAL > seconds:
                break
        else:
            self.is_done = True
        self._take_stock(before)
        return self.tally, {} if self.is_done else dict(self.place)

    def finish(self) -> Tally:
        """Remove what there still is, the subject's own row last, however long it takes, in the
        caller's transaction. After a drain little is left, and a statement that asks for all of it
        at once would be planned for the million rows that were there."""
        self.allowed, self._is_last = 0, True
        tally, _ = self.work(seconds=float("inf"))
        own = [step for step in self.closure.steps if step.model is self.closure.graph.root]
        for step in own:
            if step.touched is None:
                tally.add_all(carrying.change(self.closure, [step], self.stretches.subjects))
        return tally

    def lose(self, place: Mapping[str, Any], *, was_cancelled: bool = False) -> bool:
        """Go back to a stored place. Returns whether a statement that was cancelled can be made
        smaller or be given more time."""
        work, self._at_work = self._at_work, _Work()
        self._moves, self._held, self.is_done = None, [], False
        self.place = _place_of(place)
        branch, asked = work.branch, work.asked
        if not was_cancelled or not branch:
            return True
        if work.is_finding and work.among is not None and work.among.keys.count > 1:
            # Rows of several parents come in no index's order: fewer of those.
            self._stride(work.among.branch).size = max(1, work.among.keys.count // 4)
        elif work.is_finding:
            self.allowed *= 2
        elif asked > 1:
            self._stride(branch).size = max(1, asked // 4)
        elif isinstance(branch, Branch) and branch.is_bottom and branch not in self.wide:
            # One row with too many below: those go first, by themselves.
            self.wide.add(branch)
        else:
            self.allowed *= 2
        return self.allowed < 60

    def read_past(self) -> None:
        """Read past the dead entries that the rows have left in the indexes. Reading marks them,
        without any lock, so that the cascade from the subject's own row need not look at each.
        By the clock, too: what a cancelled look has marked stays marked."""
        if connection.vendor != "postgresql":
            return
        for _, part in self.stretches.parts():
            if isinstance(part, Branch):
                for _ in range(LOOKS):
                    if self._look(part.texts.look(self.stretches.root)):
                        break

    def _look(self, statement: Statement) -> bool:
        try:
            with transaction.atomic():
                bound_plans(ALLOWED)
                self._row(statement)
        except OperationalError:
            return False
        return True

    # --- the walk -----------------------------------------------------------------------------

    def _walk(self) -> Iterator[None]:
        """Go through all that hangs on the subject. Yields where the transaction may end."""
        parts = self.stretches.parts()
        names = [name for name, _ in parts]
        start = names.index(self.place["at"]) if self.place.get("at") in names else 0
        for number, (name, part) in enumerate(parts[start:]):
            after = self.place.get("after") if number == 0 and "at" in self.place else None
            self.place = {"at": name, "after": after}
            self.allowed = self.usually
            if isinstance(part, Branch):
                yield from self._clear(part, self.stretches.root, after, is_top=True)
            else:
                yield from self._stretch(name, part, after)

    def _stretch(self, name: str, part: Stretch, after: Any) -> Iterator[None]:
        """What leads to the subject by no foreign key, and rows that stay but are changed."""
        while True:
            stride, started = self._stride(name), perf_counter()
            size = self._allow(int(stride.size))
            self._at_work = _Work(name, size)
            after = yield from self._take(part, after, size)
            stride.observe(size, perf_counter() - started, GOAL)
            self.place = {"at": name, "after": after}
            if after is None:
                return
            yield

    def _take(self, part: Stretch, after: Any, size: int) -> Generator[None, None, Any]:
        """Carry out some rows of a stretch; return the last place if more may follow."""
        keys, after = self.stretches.find(part, after, size)
        self._spend(len(keys))
        below = self.stretches.below(part.step) if keys else ()
        some = Keys(self.stretches.dialect.listed(keys), len(keys)) if below else None
        for child in below:
            assert some is not None  # noqa: S101
            yield from self._clear(child, some)
        if keys:
            self.stretches.carry_out(part, keys, self.tally)
        return after

    def _clear(
        self, branch: Branch, above: Keys, after: Any = None, *, is_top: bool = False
    ) -> Iterator[None]:
        """Remove the rows of a branch that hang on some rows above, and all below."""
        texts, cascades = branch.texts, self._cascades(branch)
        if above.is_single and (branch.is_leaf or (cascades and texts.is_ordered)):
            yield from self._reap(branch, above, after, is_top)
            return
        if texts.is_ordered and 1 < above.count <= APART:
            ones = above.split(self.stretches.dialect)
            before = self._gone
            for one in ones:
                yield from self._clear(branch, one)
                # As often as when the rows of one parent are taken.
                if self._gone - before >= self._stride(branch).size:
                    yield
                    before = self._gone
            if ones:
                return
        while True:
            started, stride = perf_counter(), self._stride(branch)
            size = self._allow(int(stride.size))
            self._at_work = _Work(branch, size, True, self._held[-1] if self._held else None)
            is_flat = branch.is_leaf or self._cascades(branch)
            find = branch.texts.find(above, after, size, locks=not is_flat)
            count, text, last = self._ask(find)
            found = perf_counter()
            if count:
                yield from self._fell(_Batch(branch, Keys(text, count), above))
                goal = GOAL if is_flat else CLEARED
                stride.observe(count, perf_counter() - found, goal, finding=found - started)
            after = last
            if is_top:
                self.place = {**self.place, "after": after}
            if count < size:
                return
            yield

    def _fell(self, batch: _Batch) -> Iterator[None]:
        """Remove rows, and before them whatever hangs on them."""
        branch = batch.branch
        self._held.append(batch)
        while not self._cascades(branch):
            begun = self._number
            for child in branch.branches:
                yield from self._clear(child, batch.keys)
            if begun == self._number:
                break
            for child in branch.branches:
                # The delete reads past the dead entries of all that went in these transactions.
                self._at_work = _Work()
                self._row(child.texts.look(batch.keys))
                yield
            if self.stock.is_kept:
                break
            # It took several transactions, and somebody may have added a row between two: a
            # cascade would take it uncounted.
        self._at_work = _Work(branch, batch.keys.count)
        self._change(branch, branch.texts.delete(batch.keys, batch.above))
        self._held.pop()

    def _reap(self, branch: Branch, above: Keys, after: Any, is_top: bool) -> Iterator[None]:
        """Remove the rows of one parent from place to place, those below by cascade; no key leaves
        the database."""
        while True:
            started, stride = perf_counter(), self._stride(branch)
            size = self._allow(int(stride.size))
            self._at_work = _Work(branch, size, True)
            row = self._row(branch.texts.find_end(above, after, size))
            end, found = row[0] if row else None, perf_counter()
            self._at_work = _Work(branch, size)
            self._change(branch, branch.texts.delete_upto(above, after, end))
            taken = size if end is not None else 0
            stride.observe(taken, perf_counter() - found, GOAL, finding=found - started)
            if is_top:
                self.place = {**self.place, "after": str(end) if end is not None else after}
            if end is None:
                return
            after = end
            yield

    def _cascades(self, branch: Branch) -> bool:
        """Whether rows go with what hangs on them in one statement."""
        return (
            self.stock.is_kept
            and branch.is_bottom
            and branch not in self.wide
            and self._left is None
        )

    # --- statements -----------------------------------------------------------------------------

    def _ask(self, statement: Statement) -> tuple[int, str, Any]:
        count, text, last = self._row(statement) or (0, "", None)
        return count, text or "", last

    def _row(self, statement: Statement) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(*statement)
            return cursor.fetchone()

    def _change(self, branch: Branch, statement: Statement) -> None:
        with connection.cursor() as cursor:
            cursor.execute(*statement)
            rows = cursor.rowcount
        self._gone += rows
        self._spend(rows)
        if not self.stock.is_kept:
            self.tally.add(branch.step, self.subject_id, rows)

    def _prepare(self) -> list[int]:
        """Make the transaction ready: bounds, plans, locks. Returns what it removed before."""
        if connection.vendor != "postgresql":
            self._relock()
            return []
        # What a crash of the server undoes is done again; counts and place are undone with it.
        more = [] if self._is_last else ["set_config('synchronous_commit', 'off', true)"]
        # Of a connection's last second the database may count earlier transactions along.
        before = bound_plans(self.allowed, *more, *self.stock.columns)
        self._relock()
        return before[len(before) - len(self.stock.columns) :]

    def _relock(self) -> None:
        for batch in self._held:
            there = self._row(batch.branch.texts.relock(batch.keys, batch.above))
            if there[0] != batch.keys.count:
                raise Moved

    def _take_stock(self, before: list[int]) -> None:
        """Count what the transaction has removed, cascades included."""
        if not self.stock.is_kept:
            return
        self.tally.removed.clear()
        earlier = before or [0] * len(self.closure.removals)
        counts = self._row((f"SELECT {', '.join(self.stock.columns)}", []))
        for step, rows, already in zip(self.closure.removals, counts, earlier, strict=True):
            self.tally.add(step, self.subject_id, rows - already)

    def _stride(self, branch: Branch | str) -> _Stride:
        if branch not in self.strides:
            is_deep = isinstance(branch, Branch) and not branch.is_leaf and not branch.is_bottom
            # With two generations below, or more, nobody knows how many rows one brings along.
            self.strides[branch] = _Stride(1.0 if is_deep else float(FIRST))
        return self.strides[branch]

    def _allow(self, size: int) -> int:
        return max(1, size if self._left is None else min(size, self._left))

    def _spend(self, rows: int) -> None:
        if self._left is not None:
            self._left -= rows


def _place_of(cursor: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cursor[name] for name in ("at", "after") if name in cursor}
