"""Holds the house up: who may import whom, who may touch the world outside, and where SQL may be written by hand."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FOUNDATION = {"errors", "config", "clock", "periods", "rules"}
QUERIES = FOUNDATION | {"database", "models", "queries"}

# What each part of service/ may import of the others. A new part needs a line here.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "rules": set(),
    "config": {"errors"},
    "clock": {"errors", "config"},
    "periods": {"errors", "config", "clock"},
    "database": FOUNDATION,
    "models": FOUNDATION | {"database"},
    "queries": FOUNDATION | {"database", "models"},
    "schema": FOUNDATION | {"database", "models"},
    "feeds": {"errors", "rules", "periods"},
    "monitoring": QUERIES | {"schema"},
    "web": QUERIES | {"schema", "monitoring"},
    "jobs": QUERIES | {"schema", "monitoring", "feeds"},
}

SQL_MODULES = ("service/database.py", "service/schema/")

ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}
CLOCK = {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "time.time",
    "time.time_ns",
    "time.clock_gettime",
    "time.clock_gettime_ns",
    "peewee.fn.NOW",
    "peewee.fn.CURDATE",
    "peewee.fn.CURRENT_TIMESTAMP",
    "peewee.fn.SYSDATE",
    "peewee.fn.UTC_TIMESTAMP",
}
# With an instant to convert these are harmless; without one they ask the clock.
CLOCK_WITHOUT_ARGUMENTS = {"time.localtime", "time.gmtime", "time.ctime", "peewee.fn.UNIX_TIMESTAMP"}
TIME_ZONES = {"zoneinfo", "pytz", "dateutil.tz"}
RAW_DOORS = {"execute_sql", "executescript", "executemany", "raw", "cursor"}

# A statement in capitals, or one in small letters that is more than a word. "Select a park from the list" is neither.
SQL_STATEMENT = re.compile(
    r"""\s*(
        (SELECT|INSERT|REPLACE|UPDATE|DELETE|ALTER|CREATE|DROP|RENAME|TRUNCATE|MERGE|GRANT|REVOKE|WITH
            |PRAGMA|SET|SHOW|EXPLAIN|ANALYZE|OPTIMIZE|CALL|LOCK|UNLOCK|START|SAVEPOINT)\s+(?!(NULL|DEFAULT)\s*$)\S
        | (BEGIN|COMMIT|ROLLBACK|VACUUM|ANALYZE)\b
        | select\s.+\sfrom\s
        | (insert|replace)\s+(ignore\s+)?into\s
        | update\s+\S+\s+set\s
        | delete\s+from\s
        | (alter|create|drop|truncate)\s+((or\s+replace|temporary|unique)\s+)*
          (table|index|view|database|schema|trigger)\s
        | pragma\s+\w+\s*(=|;|\(|$)
        | set\s+(session|global|names|statement|@)\b
        | explain\s+(query|select|analyze|format)\b
    )""",
    re.VERBOSE | re.DOTALL,
)

Problems = Iterator[tuple[int, str]]
Checker = Callable[[str, ast.Module], Problems]


# --- reading source -------------------------------------------------------------------------------------------------


def module_name(path: str) -> str:
    """`service/web/__init__.py` is service.web, `service/rules.py` is service.rules."""
    parts = path.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Each imported module as (line, dotted name). `from a import b` gives a.b, for b may be a module."""
    package = path.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{name.name}") for name in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func).endswith(("import_module", "__import__")):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield node.lineno, argument.value


def dotted(node: ast.expr) -> str:
    """`a.b.c` as written; empty for anything that is not a chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def aliases(tree: ast.Module) -> dict[str, str]:
    """Local name -> what it stands for: t -> time after `import time as t`, now -> a.now after `from a import now`."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known.update({name.asname: name.name for name in node.names if name.asname})
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known.update({name.asname or name.name: f"{node.module}.{name.name}" for name in node.names})
    return known


def mentions(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Each name or attribute with the full name it stands for, wherever it was imported from."""
    known = aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and (name := dotted(node)):
            first, _, rest = name.partition(".")
            yield node, ".".join([known.get(first, first), *([rest] if rest else [])])


def strings(tree: ast.Module) -> Iterator[ast.Constant | ast.JoinedStr]:
    """Strings and f-strings, but those that stand alone (docstrings) and the pieces of an f-string."""
    left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    left_out |= {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in left_out:
            yield node


def looks_like_sql(node: ast.expr | None) -> bool:
    """Whether a string or f-string begins an SQL statement, whatever the f-string puts in."""
    pieces = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [piece.value if isinstance(piece, ast.Constant) else "?" for piece in pieces]
    return bool(SQL_STATEMENT.match("".join(text for text in texts if isinstance(text, str))))


# --- the rules ------------------------------------------------------------------------------------------------------


def one_way_imports(path: str, tree: ast.Module) -> Problems:
    part = module_name(path).split(".")
    for line, name in imports(path, tree):
        root, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if part[0] == "migrations" and root in ("service", "cli"):
            yield line, f"migrations import nothing of ours, not {name}: they must not change when it does"
        elif part[0] == "cli" and f"{name}.".startswith("service.web.routes."):
            yield line, f"cli may use all of the service but {name}"
        elif part[0] == "service" and root == "cli":
            yield line, f"the service never imports cli, here {name}"
        elif part[0] == "service" and root == "service" and len(part) > 1 and target != part[1]:
            if target in MAY_IMPORT and target not in MAY_IMPORT.get(part[1], set()):
                allowed = ", ".join(sorted(MAY_IMPORT.get(part[1], set()))) or "nothing"
                yield line, f"service.{part[1]} may not import service.{target}; it may import: {allowed}"
        elif part == ["service"] and root == "service":
            yield line, f"service/__init__.py imports nothing, here {name}"


def known_parts(path: str, tree: ast.Module) -> Problems:
    part = module_name(path).split(".")
    if part[0] == "service" and len(part) > 1 and part[1] not in MAY_IMPORT:
        yield 1, f"service.{part[1]} has no place in the house: say in MAY_IMPORT what it stands on"


def one_reader_of_environment(path: str, tree: ast.Module) -> Problems:
    if path != "service/config.py":
        yield from ((node.lineno, f"only service/config.py reads the environment, here {name}")
                    for node, name in mentions(tree) if name in ENVIRONMENT)


def one_reader_of_clock(path: str, tree: ast.Module) -> Problems:
    if path == "service/clock.py":
        return
    asking = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and not node.args}
    for node, name in mentions(tree):
        if name in CLOCK or (name in CLOCK_WITHOUT_ARGUMENTS and id(node) in asking):
            yield node.lineno, f"only service/clock.py reads the clock, here {name}"


def one_user_of_time_zones(path: str, tree: ast.Module) -> Problems:
    if path != "service/periods.py":
        yield from ((line, f"only service/periods.py knows time zones, here {name}")
                    for line, name in imports(path, tree) if any(f"{name}.".startswith(f"{z}.") for z in TIME_ZONES))


def one_user_of_bottle(path: str, tree: ast.Module) -> Problems:
    if path not in ("service/web/app.py", "service/web/http.py"):
        yield from ((line, f"only service/web/app.py and service/web/http.py import bottle, here {name}")
                    for line, name in imports(path, tree) if f"{name}.".startswith("bottle."))


def no_raw_sql(path: str, tree: ast.Module) -> Problems:
    if path.startswith(SQL_MODULES):
        return
    place = "that belongs to service/database.py and service/schema/"
    known = aliases(tree)
    # The DEFAULT of a column can be said in no other way.
    fragments = ("peewee.RawQuery",) if path.startswith("service/models/") else ("peewee.RawQuery", "peewee.SQL")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            door = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if door in RAW_DOORS or known.get(dotted(node.func)) in fragments:
                yield node.lineno, f"SQL by hand, here {dotted(node.func) or door}(): {place}"
    for text in strings(tree):
        if looks_like_sql(text):
            yield text.lineno, f"a string that looks like SQL: {place}"


def no_assembled_sql(path: str, tree: ast.Module) -> Problems:
    """SQL put together from strings, even where SQL by hand is allowed."""
    if not path.startswith("service/schema/"):
        for node in ast.walk(tree):
            if (text := assembled_from(node)) and looks_like_sql(text):
                yield text.lineno, "SQL is never assembled from strings: pass values as parameters"


def assembled_from(node: ast.AST) -> ast.expr | None:
    """The string that something is put into by an f-string, `%`, `+` or `format`."""
    if isinstance(node, ast.JoinedStr) and any(isinstance(piece, ast.FormattedValue) for piece in node.values):
        return node
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        return node.left
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return node.func.value
    return None


RULES: list[Checker] = [
    one_way_imports,
    known_parts,
    one_reader_of_environment,
    one_reader_of_clock,
    one_user_of_time_zones,
    one_user_of_bottle,
    no_raw_sql,
    no_assembled_sql,
]


# --- the house holds ------------------------------------------------------------------------------------------------


def sources() -> list[str]:
    """Every Python file of the project's own code, as a path from the root."""
    folders = ("service", "cli", "migrations")
    return sorted(path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py"))


def findings(rule: Checker, path: str, source: str) -> list[str]:
    return [f"{path}:{line}: {problem}" for line, problem in rule(path, ast.parse(source, path))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house_keeps(rule: Checker) -> None:
    ours = [path for path in sources() if rule is one_way_imports or not path.startswith("migrations/")]
    problems = [found for path in ours for found in findings(rule, path, (ROOT / path).read_text())]
    assert not problems, "\n" + "\n".join(problems)


def test_every_part_of_the_house_was_looked_at() -> None:
    seen = {path.split("/")[0] for path in sources()}
    assert seen == {"service", "cli", "migrations"}
    assert {"service/rules.py", "service/database.py", "service/models/base.py"} <= set(sources())


def test_no_part_stands_on_a_part_that_stands_on_it() -> None:
    mutual = {(a, b) for a, below in MAY_IMPORT.items() for b in below if a in MAY_IMPORT[b]}
    assert not mutual


# --- each rule can fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "source"), [
    ("service/queries/live.py", "from service.web import params"),
    ("service/queries/live.py", "import service.jobs.daily"),
    ("service/queries/live.py", "from service import monitoring"),
    ("service/queries/live.py", "from ..web.app import create_app"),
    ("service/queries/__init__.py", "from .. import web"),
    ("service/queries/live.py", "def f():\n    from service.jobs import daily"),
    ("service/queries/live.py", "import importlib\nimportlib.import_module('service.web.app')"),
    ("service/models/park.py", "from service.queries.tally import tally"),
    ("service/database.py", "from service.models import Park"),
    ("service/rules.py", "from service.errors import BadRequest"),
    ("service/feeds/themeparks_wiki.py", "from service import config"),
    ("service/schema/drift.py", "from service.queries import live"),
    ("service/jobs/daily.py", "from service.web import answers"),
    ("service/web/app.py", "import cli"),
    ("service/jobs/worker.py", "from cli.jobs import worker"),
    ("service/__init__.py", "from service import config"),
    ("cli/jobs.py", "from service.web.routes.parks import downtime"),
    ("cli/jobs.py", "from service.web import routes"),
    ("migrations/001_create_tables.py", "from service.models import Park"),
    ("migrations/001_create_tables.py", "import cli"),
])
def test_import_against_the_direction_is_found(path: str, source: str) -> None:
    assert len(findings(one_way_imports, path, source)) == 1


@pytest.mark.parametrize(("path", "source"), [
    ("service/queries/live.py", "from service import clock, rules\nfrom service.models import Park"),
    ("service/queries/live.py", "from service.queries.tally import tally\nfrom .catalog import parks"),
    ("service/web/routes/parks.py", "from service.monitoring import health\nfrom ..params import period"),
    ("service/jobs/collect.py", "from service.feeds import queue_times\nfrom service.schema import guard"),
    ("service/feeds/csv_files.py", "from service.errors import BadRequest\nfrom service.feeds import Reading"),
    ("service/__init__.py", "import logging"),
    ("cli/__init__.py", "from service.web.app import application\nfrom cli import jobs"),
    ("migrations/001_create_tables.py", "import peewee\nfrom peewee_migrate import Migrator"),
])
def test_import_in_the_right_direction_is_fine(path: str, source: str) -> None:
    assert findings(one_way_imports, path, source) == []


def test_finding_names_file_line_and_rule() -> None:
    assert findings(one_way_imports, "service/feeds/csv_files.py", "import csv\n\nfrom service import models") == [
        "service/feeds/csv_files.py:3: service.feeds may not import service.models;"
        " it may import: errors, periods, rules"
    ]


def test_part_without_a_place_is_found() -> None:
    assert findings(known_parts, "service/helpers.py", "") != []
    assert findings(known_parts, "service/helpers/dates.py", "") != []
    assert findings(known_parts, "service/rules.py", "") == []
    assert findings(known_parts, "service/__init__.py", "") == []


@pytest.mark.parametrize("source", [
    "import os\nos.environ['PORT']",
    "import os\nos.getenv('PORT')",
    "import os as system\nsystem.environ.get('PORT')",
    "from os import environ",
    "from os import getenv as setting\nsetting('PORT')",
])
def test_second_reader_of_the_environment_is_found(source: str) -> None:
    found = findings(one_reader_of_environment, "service/web/app.py", source + "\nenviron")
    assert len(found) == 1
    assert findings(one_reader_of_environment, "service/config.py", source) == []


def test_other_names_are_not_the_environment() -> None:
    source = "import os\nos.path.join('a', 'b')\ndef app(environ, start): return environ['PATH_INFO']"
    assert findings(one_reader_of_environment, "service/web/app.py", source) == []


@pytest.mark.parametrize("source", [
    "from datetime import UTC, datetime\nnow = datetime.now(UTC)",
    "import datetime\nnow = datetime.datetime.utcnow()",
    "import datetime as dt\ntoday = dt.date.today()",
    "from datetime import datetime as Instant\nField(default=Instant.now)",
    "import time\ntime.time()",
    "from time import time\ntime()",
    "from time import time as seconds\nseconds()",
    "import time\ntime.gmtime()",
    "from peewee import fn\nfn.NOW()",
])
def test_second_reader_of_the_clock_is_found(source: str) -> None:
    assert len(findings(one_reader_of_clock, "cli/jobs.py", source)) == 1
    assert findings(one_reader_of_clock, "service/clock.py", source) == []


def test_durations_and_conversions_do_not_read_the_clock() -> None:
    source = (
        "import time\nfrom datetime import UTC, datetime, time as clock_time\nfrom service import clock\n"
        "time.monotonic(), time.perf_counter(), time.gmtime(0), clock.now(), clock_time(4)\n"
        "datetime.fromtimestamp(0, UTC)\nformatter.converter = time.gmtime"
    )
    assert findings(one_reader_of_clock, "service/jobs/daily.py", source) == []


@pytest.mark.parametrize("source", [
    "import zoneinfo",
    "from zoneinfo import ZoneInfo",
    "from dateutil import tz",
    "import pytz",
])
def test_second_user_of_time_zones_is_found(source: str) -> None:
    assert len(findings(one_user_of_time_zones, "service/queries/series.py", source)) == 1
    assert findings(one_user_of_time_zones, "service/periods.py", source) == []


@pytest.mark.parametrize("source", ["import bottle", "from bottle import request"])
def test_second_user_of_bottle_is_found(source: str) -> None:
    assert len(findings(one_user_of_bottle, "service/web/routes/parks.py", source)) == 1
    assert findings(one_user_of_bottle, "service/web/app.py", source) == []


@pytest.mark.parametrize("source", [
    "db.execute_sql(query)",
    "Park.raw(query)",
    "db.cursor()",
    "from peewee import SQL\nquery.order_by(SQL('total'))",
    "x = 'SELECT 1'",
    "x = f'SELECT {column} FROM parks'",
    "x = '''\n    DELETE FROM parks\n    WHERE park_id = 1'''",
    "x = 'select name from parks'",
    "x = 'insert into parks values (1)'",
    "x = 'update parks set name = 1'",
    "x = 'COMMIT'",
    "x = 'PRAGMA foreign_keys = 0'",
    "x = 'SET SESSION time_zone = 1'",
    "x = 'ALTER TABLE ' 'parks'",
    "x = 'drop table parks'",
    "x = 'EXPLAIN QUERY PLAN'",
    "x = f'select {column} from parks'",
])
def test_raw_sql_is_found(source: str) -> None:
    assert len(findings(no_raw_sql, "service/queries/live.py", source)) == 1
    assert len(findings(no_raw_sql, "cli/data.py", source)) == 1
    assert findings(no_raw_sql, "service/database.py", source) == []
    assert findings(no_raw_sql, "service/schema/guard.py", source) == []


@pytest.mark.parametrize("source", [
    "'''SELECT is what this function builds.'''",
    "def f():\n    '''Update the tiers from a file.'''",
    "x = 'Select a period from the list'",
    "x = 'Create the database of the demo'",
    "x = 'Set the clock'",
    "x = 'Show the job log'",
    "x = 'Drop a version of the statistics'",
    "x = 'With --json, one object'",
    "x = 'SETTINGS'",
    "x = 'start'",
    "methods = ['GET', 'DELETE']",
    "ForeignKeyField(Park, on_delete='SET NULL')",
    "raise BadRequest(f'update {name}')",
    "query.execute()",
])
def test_plain_language_is_not_sql(source: str) -> None:
    assert findings(no_raw_sql, "service/queries/live.py", source) == []


def test_default_of_a_column_is_not_a_query() -> None:
    source = "from peewee import SQL\nIntegerField(constraints=[SQL('DEFAULT 0')])"
    assert findings(no_raw_sql, "service/models/park.py", source) == []


@pytest.mark.parametrize("source", [
    "db.execute_sql(f'SELECT {column} FROM parks')",
    "db.execute_sql('SELECT name FROM %s' % table)",
    "db.execute_sql('SELECT name FROM ' + table)",
    "db.execute_sql('SELECT name FROM {}'.format(table))",
    "x = f'SET SESSION max_statement_time = {seconds}'",
])
def test_assembled_sql_is_found_even_at_the_door(source: str) -> None:
    assert len(findings(no_assembled_sql, "service/database.py", source)) == 1
    assert len(findings(no_assembled_sql, "cli/data.py", source)) == 1
    assert findings(no_assembled_sql, "service/schema/guard.py", source) == []


def test_parameters_are_not_assembly() -> None:
    source = "db.execute_sql('SELECT name FROM parks WHERE park_id = %s', (1,))\nx = f'{rows} rows'\ny = 'a' + 'b'"
    assert findings(no_assembled_sql, "service/database.py", source) == []
