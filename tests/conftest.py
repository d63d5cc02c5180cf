"""Real databases for the tests: each test that asks for one runs on SQLite and on a MariaDB of our own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_time import FakeTime
from mariadb import PrivateMariaDB, find_mariadbd

from service import clock, schema
from service import database as door
from service.config import Settings
from service.jobs import patience
from service.schema.statements import OWN_TABLES
from service.web.answers import Answers

ENGINES = ("sqlite", "mariadb")
NO_MARIADB = "no mariadbd on this machine: install the package mariadb-server"


@pytest.fixture(params=ENGINES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a migrated database without rows, but for those that the migrations write."""
    if request.param == "mariadb":
        return request.getfixturevalue("_shared_mariadb").emptied()
    template: Path = request.getfixturevalue("_sqlite_template")
    shutil.copyfile(template, tmp_path / "test.db")
    return Settings(database_url=f"sqlite:///{tmp_path / 'test.db'}")


@pytest.fixture
def database(settings: Settings) -> Iterator[Any]:
    """The database of `settings`, bound to `service.database.db`."""
    yield from _opened(settings)


@pytest.fixture(params=ENGINES)
def blank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a database without any table, open and bound. For tests that change the schema."""
    if request.param == "mariadb":
        server: PrivateMariaDB = request.getfixturevalue("mariadb")
        settings = Settings(database_url=server.url(server.create_database("blank")))
    else:
        settings = Settings(database_url=f"sqlite:///{tmp_path / 'blank.db'}")
    for _ in _opened(settings, time_limit=False):
        yield settings


def _opened(settings: Settings, *, time_limit: bool = True) -> Iterator[Any]:
    bound = door.open_database(settings, time_limit=time_limit)
    yield bound
    door.close()
    if door.db.obj is not bound:  # a command or an application of the test has opened its own since
        door.db.initialize(bound)
        door.close()
    clock.replay(None)


@pytest.fixture(autouse=True)
def _answers_end_with_their_test() -> Iterator[None]:
    """No thread that looks at revisions meets the database of the next test."""
    started: list[Answers] = []
    start = Answers._ensure_threads

    def remembered(answers: Answers) -> None:
        started.append(answers)
        start(answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Answers, "_ensure_threads", remembered)
        yield
    for answers in {id(one): one for one in started}.values():
        answers.close()


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """Waiting for the database takes no time."""
    fake = FakeTime()
    monkeypatch.setattr(patience, "time", fake)
    return fake


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest) -> Iterator[PrivateMariaDB]:
    """A private server for the whole run. Skips where there is none, fails with REQUIRE_MARIADB_TESTS=1."""
    if find_mariadbd() is None:
        if os.environ.get("REQUIRE_MARIADB_TESTS", "0") not in ("", "0"):
            pytest.fail(f"REQUIRE_MARIADB_TESTS is set, but there is {NO_MARIADB}.", pytrace=False)
        pytest.skip(NO_MARIADB)
    with PrivateMariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy: running the migrations takes longer than most tests."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(Settings(database_url=f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def _shared_mariadb(mariadb: PrivateMariaDB) -> Iterator[_SharedMariaDB]:
    shared = _SharedMariaDB(mariadb)
    yield shared
    shared.connection.close()


class _SharedMariaDB:
    """One migrated database for all tests, which find it empty."""

    def __init__(self, server: PrivateMariaDB) -> None:
        self.settings = Settings(database_url=server.url(server.create_database("shared")))
        _migrate(self.settings)
        self.connection = server.connect("shared")
        # A transaction that a test left open must fail the next test, not hang it.
        self._run("SET SESSION foreign_key_checks = 0, lock_wait_timeout = 5")
        self.tables = [name for (name,) in self._run("SHOW TABLES") if name not in OWN_TABLES]
        self.written = {name: rows for name in self.tables if (rows := self._run(f"SELECT * FROM {name}"))}

    def emptied(self) -> Settings:
        """Settings of the database after it was emptied. Ids start at 1 again, as in a new SQLite file."""
        filled = " UNION ALL ".join(f"SELECT '{name}', EXISTS (SELECT 1 FROM {name})" for name in self.tables)
        for name, has_rows in self._run(filled):
            if has_rows:
                self._run(f"TRUNCATE TABLE {name}")
        for name, rows in self.written.items():
            for row in rows:
                self._run(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(row))})", row)
        return self.settings

    def _run(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())


def _migrate(settings: Settings) -> None:
    door.open_database(settings, time_limit=False)
    schema.upgrade(settings)
    door.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One loud line, because skipped tests are easily overlooked."""
    count = sum(NO_MARIADB in str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    if count:
        terminalreporter.write_sep("!", f"{count} tests on MariaDB were SKIPPED: {NO_MARIADB}", red=True, bold=True)
