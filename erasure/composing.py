"""From a graph to SQL: for each model one named query that yields, for a set of subjects, the keys
of its rows and the subject that each row belongs to.

A row that several ways reach, or several subjects of the set share, is yielded once, under the
least of those subjects. The names (``found_3``) are common table expressions, so that a query about
grandchildren builds on the one about their parents.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from erasure.circles import walk
from erasure.dialects import LIMIT, Dialect, Sql
from erasure.graph import Aim, Edge, Graph, Model, Touched, Way
from erasure.paths import Path, find_aimed, is_single, narrow
from erasure.policies import Anonymise


class Composer:
    """Writes the SQL of one kind's graph. ``instances`` are the subjects' rows, which references
    found by ``match`` ask for; ``prefix`` keeps the names of two composers apart."""

    def __init__(
        self, kind: Any, graph: Graph, dialect: Dialect, instances: Sequence[Any], prefix: str = ""
    ) -> None:
        self.kind, self.graph, self.dialect = kind, graph, dialect
        self.instances = instances
        self.names = {
            model: f"{prefix}found_{number}"
            for number, model in enumerate(one for many in graph.components for one in many)
        }
        self._aims: dict[int, list[Path]] = {}

    # --- the rows that go ---------------------------------------------------------------------

    def paths(self, model: Model, inside: Iterable[Model] = ()) -> list[Path]:
        """Return the ways to rows of a model that go, without those from models ``inside``."""
        inner = set(inside)
        found: list[Path] = []
        if model is self.graph.root:
            key = self.key(model)
            condition = self.dialect.among(key)
            found.append(Path("", condition.text, key, condition.params))
        for way in self.graph.ways[model]:
            if not (isinstance(way, Edge) and way.parent in inner):
                found += self.way(way)
        return found

    def way(self, way: Way) -> list[Path]:
        if isinstance(way, Edge):
            return [self._along(way)]
        # Asked for several times, and the ORM takes its time to write a condition.
        if id(way) not in self._aims:
            self._aims[id(way)] = find_aimed(
                way, self.kind, self.graph.root, self.dialect, self.instances
            )
        return self._aims[id(way)]

    def _along(self, edge: Edge) -> Path:
        column = self.dialect.column(edge.child, edge.child_field.column)
        if self._is_direct(edge):
            condition = self.dialect.among(column)
            return Path("", condition.text, column, condition.params)
        up = "pk" if edge.is_to_key else self._extra(edge.parent_field)
        return Path(f"{self.names[edge.parent]} AS up", f"{column} = up.{up}", "up.subject", ())

    def _is_direct(self, edge: Edge) -> bool:
        """Whether the column holds the key of a subject, so that no other table is asked."""
        root = self.graph.root
        return edge.parent is root and edge.is_to_key and not self.graph.ways[root]

    # --- named queries ------------------------------------------------------------------------

    def key(self, model: Model) -> str:
        return self.dialect.key_of(model)

    def named(self, models_wanted: Iterable[Model]) -> list[Sql]:
        """Return the common table expressions of models and of all that they build on."""
        needed = self._with_parents(models_wanted)
        found: list[Sql] = []
        for component in self.graph.components:
            if needed & set(component):
                if self.graph.is_recursive(component):
                    found += walk(self, component)
                else:
                    found.append(self._named(component[0]))
        return found

    def _with_parents(self, wanted: Iterable[Model]) -> set[Model]:
        needed: set[Model] = set()
        front = list(wanted)
        while front:
            model = front.pop()
            if model not in needed:
                needed.add(model)
                front += self.parents(self.graph.ways[model])
        return needed

    def parents(self, ways: Iterable[Way]) -> list[Model]:
        """Return the models whose named queries these ways build on."""
        return [way.parent for way in ways if isinstance(way, Edge) and not self._is_direct(way)]

    def _named(self, model: Model) -> Sql:
        body = self.body(model, self.paths(model))
        # Written out in each place, so that the planner sees through it.
        hint = "NOT MATERIALIZED " if is_single(self.paths(model)) else ""
        return Sql(f"{self.names[model]} AS {hint}({body.text})", body.params)

    def body(self, model: Model, paths: Sequence[Path]) -> Sql:
        """Return the query of a model's rows over some ways: ``pk``, ``subject``, and the other
        columns that children refer to."""
        if not paths:
            paths = [Path("", "1 = 0", self.dialect.nobody, ())]
        columns, names = self.columns(model)
        branches: list[str] = []
        params: list[Any] = []
        for path in paths:
            rows = self.from_(model, path)
            branches.append(f"SELECT {', '.join(columns)}, {path.subject} AS subject {rows.text}")
            params += rows.params
        if is_single(paths):
            return Sql(branches[0], tuple(params))
        return Sql(self.dialect.once(" UNION ALL ".join(branches), names), tuple(params))

    def columns(self, model: Model) -> tuple[list[str], list[str]]:
        """Return the columns of a model's named query but for the subject, and all their names."""
        extras = self._extras(model)
        columns = [f"{self.key(model)} AS pk"]
        columns += [f"{self.dialect.column(model, one)} AS k_{one}" for one in extras]
        return columns, ["pk", *(f"k_{one}" for one in extras), "subject"]

    def from_(self, model: Model, path: Path) -> Sql:
        table = self.dialect.quote(model._meta.db_table)
        sources = f"{table}, {path.sources}" if path.sources else table
        return Sql(f"FROM {sources} WHERE {path.where}", path.params)

    def _extra(self, field: Any) -> str:
        return f"k_{field.column}"

    def _extras(self, model: Model) -> list[str]:
        """Return the columns, beside the key, by which children name rows of a model."""
        ways = [way for many in self.graph.ways.values() for way in many]
        ways += [way for one in self.graph.touched for way in one.ways]
        named = {
            way.parent_field.column
            for way in ways
            if isinstance(way, Edge) and way.parent is model and not way.is_to_key
        }
        return sorted(named)

    # --- the rows that stay -------------------------------------------------------------------

    def touched(self, touched: Touched, ways: Sequence[Way] | None = None) -> Sql:
        """Return the query of rows that stay but are detached, anonymised or kept: those of the
        model that go anyway are left out."""
        return self.body(touched.model, self.touched_paths(touched, ways))

    def touched_paths(self, touched: Touched, ways: Sequence[Way] | None = None) -> list[Path]:
        spared = self._not_gone(touched.model)
        found: list[Path] = []
        for way in ways or touched.ways:
            paths = [narrow(path, spared) for path in self.way(way)]
            if isinstance(way, Aim) and isinstance(touched.fate, Anonymise):
                paths = [narrow(path, self._unlike(touched)) for path in paths]
            found += paths
        return found

    def _unlike(self, touched: Touched) -> Sql:
        """Return the condition that a row does not hold the new values yet: nothing is done, nor
        counted, twice."""
        assert isinstance(touched.fate, Anonymise)  # noqa: S101
        conditions: list[str] = []
        params: list[Any] = []
        for name, value in touched.fate.values.items():
            field: Any = touched.model._meta.get_field(name)
            column = self.dialect.column(touched.model, field.column)
            if value is None:
                conditions.append(f"{column} IS NOT NULL")
                continue
            conditions.append(self.dialect.differs(column))
            params.append(field.get_db_prep_save(value, self.dialect.connection))
        return Sql(" OR ".join(conditions) or "1 = 1", tuple(params))

    def touched_needs(self, touched: Touched) -> list[Model]:
        """Return the models whose named queries a touched model's query builds on."""
        needed = self.parents(touched.ways)
        if touched.model in self.graph.ways and not self._is_plain(touched.model):
            needed.append(touched.model)
        return needed

    def _is_plain(self, model: Model) -> bool:
        """Whether a row alone shows that it goes, by a column that holds the subject's key."""
        paths = self.paths(model)
        return all(
            not path.sources and path.where == self.dialect.among(path.subject).text
            for path in paths
        )

    def _not_gone(self, model: Model) -> Sql:
        if model not in self.graph.ways or not self.paths(model):
            return Sql("1 = 1")
        if not self._is_plain(model):
            gone = self.names[model]
            return Sql(
                f"NOT EXISTS (SELECT 1 FROM {gone} AS gone WHERE gone.pk = {self.key(model)})"
            )
        conditions = [
            f"({path.subject} IS NULL OR NOT ({path.where}))" for path in self.paths(model)
        ]
        params = tuple(one for path in self.paths(model) for one in path.params)
        return Sql(" AND ".join(conditions), params)

    # --- counting -----------------------------------------------------------------------------

    def limited(self, model: Model, paths: Sequence[Path]) -> Sql:
        """Return the query of a model's keys over some ways, of each no more than a limit."""
        branches = [
            f"SELECT pk FROM (SELECT {self.key(model)} AS pk {self.from_(model, path).text} "
            f"LIMIT %s) AS way_{number}"
            for number, path in enumerate(paths)
        ]
        params = tuple(one for path in paths for one in (*path.params, LIMIT))
        return Sql(" UNION ".join(branches), params)
