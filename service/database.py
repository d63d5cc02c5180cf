"""The one door to the database: opening it, transactions, the query log, bulk reads and upserts. Knows no table."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from peewee import (
    OP,
    SQL,
    Database,
    DatabaseProxy,
    Expression,
    Field,
    Model,
    MySQLDatabase,
    NodeList,
    PeeweeException,
    Query,
    SqliteDatabase,
)
from peewee import QueryEvent, __exception_wrapper__  # type: ignore[attr-defined]
from playhouse.pool import PooledMySQLDatabase  # type: ignore[import-untyped]

from service.config import Settings
from service.errors import BadRequest, ServiceError, Unavailable, Unreachable

db = DatabaseProxy()
# Who asks, for the query log: the template of a path, a job, a command.
asked_by: ContextVar[str] = ContextVar("asked_by", default="nobody named")
# While rows are read or sent: the statements of which the query log is told afterwards.
_unfinished: ContextVar[list[_Unfinished] | None] = ContextVar("unfinished", default=None)
_observer: ContextVar[Callable[[float], object] | None] = ContextVar("observer", default=None)
log = logging.getLogger("service.sql")
# At DEBUG peewee logs the values of every statement, which are nobody's business. SQL_ECHO logs statements without.
logging.getLogger("peewee").setLevel(logging.INFO)

_Unfinished = Callable[[float, int | None], None]  # given the seconds it took, and its rows
R = TypeVar("R", bound=Sized)

BATCH_ROWS = 1000
MOST_CHARACTERS = 2000  # of a statement in the query log
MARK = -(2**40)  # the first of the numbers that stand for values in a prepared statement, going down

LOOPBACK = ("localhost", "127.0.0.1", "::1", "")
# What every MySQL/MariaDB session starts with. The version-guarded comments pick each server's own names: MariaDB
# runs those with M (time-out in seconds, any statement), MySQL the others (milliseconds, SELECT only).
SESSION_SQL = (
    "SET SESSION time_zone = '+00:00'"
    " /*M!100100 , max_statement_time = {seconds} , tx_read_only = {read_only} */"
    " /*!50720 , max_execution_time = {milliseconds} , transaction_read_only = {read_only} */"
)
# 0 is what pymysql says of a connection that is gone already: the rollback after the error that told so.
# 1047: a node of a cluster that is not ready, 1053: a server that is being stopped, 1927: it ended the connection.
UNREACHABLE_CODES = {0, 1040, 1047, 1053, 1927, 2002, 2003, 2005, 2006, 2013, 2055}
UNKNOWN_DATABASE = 1049
DENIED_CODES = {1044, 1045, 1130, 1698}
FORBIDDEN_CODES = {1142, 1143, 1227, 1370}
TIMEOUT_CODES = {1969, 3024, 1205}
# Another transaction was in the way: snapshot overtaken, lock time-out, deadlock, table changed by a migration.
CONFLICT_CODES = {1020, 1205, 1213, 1412}

PASSING_TEXTS = ("database is locked", "unable to open database")  # SQLite's

# Of SQLite's machine, some 3 ms: how often it asks whether a statement is late. Every 10,000 costs a fifth where other
# threads of the process compute, this nothing that could be measured.
STEPS_BETWEEN_LOOKS = 100_000


def open_database(settings: Settings, *, read_only: bool = False, time_limit: bool = True) -> Database:
    """Bind `db` to the database of `settings.database_url` without connecting yet: peewee connects lazily.

    `read_only` sessions cannot write, whatever the code does; `time_limit` puts the statement time-out on them
    (off for schema changes). Raises BadRequest for a URL that cannot be used.
    """
    database = connect(settings, read_only=read_only, time_limit=time_limit)
    db.initialize(database)
    return database


def connect(
    settings: Settings, *, read_only: bool = True, time_limit: bool = False, named: str = "DATABASE_URL"
) -> Database:
    """The database of `settings.database_url`, not bound to `db`: a second one beside it. See `open_database`.

    `named` is what messages call the URL. Whoever opens it closes it.
    """
    try:
        parts = urlsplit(settings.database_url)
    except ValueError as error:
        raise BadRequest(f"{named} is not a URL: {error}.") from None
    timeout = settings.statement_timeout_seconds if time_limit else 0
    if parts.scheme == "sqlite":
        database = _sqlite(settings.database_url, read_only, timeout)
    elif parts.scheme in ("mysql", "mariadb"):
        database = _mysql(settings, read_only, timeout, named)
    else:
        raise BadRequest(
            f"{named} begins with {parts.scheme!r}: use sqlite:///path/to/file.db"
            " or mysql://user:password@host:port/name."
        )
    database.query_hooks.append(_query_hook(settings))
    database.query_hooks.append(_tell_observer)
    return database


def _sqlite(url: str, read_only: bool, timeout: int) -> Database:
    name = unquote(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not name:
        raise BadRequest("DATABASE_URL for SQLite is sqlite:///relative/path.db or sqlite:////absolute/path.db.")
    if read_only and not Path(name).exists():
        raise Unavailable(f"There is no database file at {name}: check DATABASE_URL, or run `cli migrate` to make it.")
    try:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unreachable(f"The database cannot be reached ({error}): check DATABASE_URL.") from error
    pragmas = {
        "journal_mode": "wal",
        "synchronous": "normal",
        "foreign_keys": 1,
        "busy_timeout": 10_000,
        # KiB, of each connection: a web worker has one a thread, and is as fast with 2 MB as with 64.
        "cache_size": -2_000 if read_only else -65_536,
        "query_only": int(read_only),
    }
    # A file that somebody moved away must be missed, not made anew and empty.
    file = {"database": f"{Path(name).absolute().as_uri()}?mode=rw", "uri": True} if read_only else {"database": name}
    # Deferred transactions that read and then write fail with "database is locked" under two writers;
    # immediate ones queue.
    options: dict[str, Any] = {"pragmas": pragmas, "lock_type": "IMMEDIATE", **file}
    return _TimedSqlite(timeout, **options) if timeout else SqliteDatabase(**options)


class _TimedSqlite(SqliteDatabase):
    """SQLite that ends a statement, or the reading of its rows, after `timeout` seconds, as the sessions of MariaDB do:
    the error says "interrupted", and the connection stays good."""

    def __init__(self, timeout: int, **options: Any) -> None:
        self._timeout_seconds = timeout
        self._now = threading.local()  # what this thread runs: peewee has a connection a thread
        super().__init__(**options)

    def cursor(self, named_cursor: str | None = None) -> Any:
        """What every statement begins with, so that its time begins here."""
        cursor = super().cursor(named_cursor)  # type: ignore[no-untyped-call]
        self._now.ends_at = time.monotonic() + self._timeout_seconds
        return cursor

    def _connect(self) -> Any:
        connection = super()._connect()  # type: ignore[misc]
        connection.set_progress_handler(self._is_late, STEPS_BETWEEN_LOOKS)
        return connection

    def _is_late(self) -> bool:
        return time.monotonic() > float(getattr(self._now, "ends_at", math.inf))


def _mysql(settings: Settings, read_only: bool, timeout: int, named: str) -> Database:
    parts = urlsplit(settings.database_url)
    try:
        port = parts.port or 3306
    except ValueError:
        raise BadRequest(f"{named}: the port is not a number in mysql://user:password@host:port/name.") from None
    name = unquote(parts.path.lstrip("/"))
    if not name:
        raise BadRequest(f"{named} names no database: mysql://user:password@host:port/name.")
    options = dict(parse_qsl(parts.query))
    host = unquote(parts.hostname or "")
    connect: dict[str, Any] = {
        "host": host or "127.0.0.1",
        "port": port,
        "user": unquote(parts.username or "root"),
        "password": unquote(parts.password or "").encode(),  # pymysql would send a str as Latin-1
        "charset": "utf8mb4",
        "connect_timeout": 3,
        # Longer than the statement limit: cutting the socket first would leave the query running on the server.
        "read_timeout": timeout + 30 if timeout else None,
        "init_command": SESSION_SQL.format(seconds=timeout, milliseconds=timeout * 1000, read_only=int(read_only)),
    }
    if "unix_socket" in options:
        connect["unix_socket"] = options["unix_socket"]
    if options.get("ssl_disabled", "true" if host in LOOPBACK else "false").lower() in ("1", "true"):
        connect["ssl_disabled"] = True  # building a TLS context costs 30 ms of CPU a connection
    database: Database = PooledMySQLDatabase(
        name, max_connections=settings.web_threads + 4, stale_timeout=300, timeout=10, **connect
    )
    return database


def close(database: Database | None = None) -> None:
    """Close every connection of this process, to `database` or to the bound one; the next query opens a new one."""
    closing = database or db.obj
    if isinstance(closing, PooledMySQLDatabase):
        closing.close_all()
    elif closing is not None:
        closing.close()


def is_mysql() -> bool:
    """Whether the open database is MySQL or MariaDB (else SQLite)."""
    return isinstance(db.obj, MySQLDatabase)


def check_server() -> None:
    """Connect and refuse a server that would change data silently. Raises Unavailable."""
    try:
        _connect()
        mode = str(db.execute_sql("SELECT @@SESSION.sql_mode").fetchone()[0]) if is_mysql() else "STRICT_ALL_TABLES"
    except PeeweeException as error:
        raise explained(error) from error
    if "STRICT_TRANS_TABLES" not in mode and "STRICT_ALL_TABLES" not in mode:
        raise Unavailable(
            f"The database server runs without strict mode (sql_mode={mode!r}) and would cut values silently:"
            " add STRICT_TRANS_TABLES to sql_mode in its configuration."
        )


def _connect() -> None:
    """Connect. Two processes that open a new SQLite file at once both change it to WAL, and one is refused: retry."""
    deadline = time.monotonic() + 10
    while True:
        try:
            db.connect(reuse_if_open=True)
            return
        except PeeweeException as error:
            if "database is locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def explained(error: BaseException, named: str = "DATABASE_URL") -> ServiceError:
    """What a driver's error means for the user, in one sentence; `named` is what the database's URL is called."""
    # A rollback that fails in turn hides what went wrong first.
    error = [link for link in chain(error) if isinstance(link, PeeweeException) or link is error][-1]
    code = error.args[0] if error.args and isinstance(error.args[0], int) else None
    text = str(error.args[-1]) if error.args else str(error)
    if code in TIMEOUT_CODES or "interrupted" in text:
        return Unavailable(
            "The query took longer than the statement time-out: narrow the question (a shorter window, one park) or try"
            " again later."
        )
    if code == 1146 or "no such table" in text or "no such column" in text or code == 1054:
        return Unavailable("The database schema is not up to date: run `cli migrate`.")
    if code == UNKNOWN_DATABASE:
        return Unreachable(f"{text}: create it (CREATE DATABASE ... CHARACTER SET utf8mb4), or correct {named}.")
    if code in DENIED_CODES:
        return Unreachable(f"{text}: check user and password in {named}, and what that user may do.")
    if code in FORBIDDEN_CODES:
        return Unavailable(f"{text}: docs/configuration.md lists what each command's account needs.")
    if code in UNREACHABLE_CODES or "unable to open database" in text or "file is not a database" in text:
        reason = text or "connection lost"
        return Unreachable(f"The database cannot be reached ({reason}): check {named} and that the server runs.")
    if "disk is full" in text or "readonly database" in text or "malformed" in text:
        return Unavailable(f"The database file cannot be used ({text}): look at its disk, its rights and its folder's.")
    if "locked" in text:
        return Unavailable("The database is locked by another writer: try again when it has finished.")
    return ServiceError(f"The database refused a statement: {text}")


def is_passing(error: PeeweeException) -> bool:
    """Whether the same may succeed a little later: the database cannot be reached, or another is in the way."""
    errors = [link for link in chain(error) if isinstance(link, PeeweeException)]
    codes = {link.args[0] for link in errors if link.args and isinstance(link.args[0], int)}
    texts = " ".join(str(link) for link in errors)
    return bool(codes & (UNREACHABLE_CODES | CONFLICT_CODES)) or any(said in texts for said in PASSING_TEXTS)


def raise_interruption(error: BaseException) -> None:
    """Raise what told this thread to end, if that is behind `error`: raised while the driver waited for the server, it
    costs the connection, and the loss of that then hides it."""
    for link in chain(error):
        if not isinstance(link, Exception):
            raise link


def drop_connection() -> None:
    """End this thread's connection for good, whatever state it is in: the next query opens a new one."""
    if db.is_closed():
        return
    if isinstance(db.obj, PooledMySQLDatabase):
        db.obj.manual_close()
    else:
        db.close()


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it came of, the last one first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def reading() -> Iterator[None]:
    """One consistent view of the database for several queries; on SQLite it does not hold up writers."""
    with db.atomic("REPEATABLE READ" if is_mysql() else "DEFERRED"):
        yield


def fetch(query: Query, database: Database | None = None) -> list[tuple[Any, ...]]:
    """All rows of `query` as the driver gives them: no model instances, no conversions. For bulk reads."""
    return _all_rows(lambda: (database or db).execute(query))


def fetch_prepared(make: Callable[..., Query], values: Sequence[int], *shape: Hashable) -> list[tuple[Any, ...]]:
    """All rows of `make(values, *shape)`, whose text is written once for every number of values and shape.

    peewee takes longer to write the statement of a tally than to hand over its rows. The text is made with markers in
    the place of `values`, which `make` must put into the query as they are.
    """
    sql, parameters = _prepared(is_mysql(), make, len(values), shape)
    filled = [values[MARK - one] if type(one) is int and one <= MARK else one for one in parameters]
    return _all_rows(lambda: db.execute_sql(sql, filled))


def _all_rows(execute: Callable[[], Any]) -> list[tuple[Any, ...]]:
    def read() -> list[tuple[Any, ...]]:
        with __exception_wrapper__:  # SQLite finds rows, and is interrupted, while they are read
            return list(execute().fetchall())

    return _counted(read)


def _counted(work: Callable[[], R]) -> R:
    """The rows that `work` gives. The query log tells of its statement when they are there, with their number."""
    unfinished: list[_Unfinished] = []
    token = _unfinished.set(unfinished)
    started = time.perf_counter()
    rows: int | None = None
    try:
        found = work()
        rows = len(found)
        return found
    finally:
        _unfinished.reset(token)
        for tell in unfinished:
            tell(time.perf_counter() - started, rows)


def remainder(column: Field[Any] | Expression, divisor: int) -> Expression:
    """`column % divisor`, which peewee takes for LIKE, and pymysql for its own."""
    return Expression(column, "%%" if is_mysql() else "%", divisor)


def among(column: Field[Any], values: Iterable[int]) -> Expression:
    """`column` is one of `values`, for rows that another index is to find: SQLite would take the column's own."""
    plain = column if is_mysql() else NodeList((SQL("+"), column), glue="")
    return Expression(plain, OP.IN, list(values))


@lru_cache(maxsize=1024)
def _prepared(mysql: bool, make: Callable[..., Query], size: int, shape: tuple[Hashable, ...]) -> tuple[str, list[Any]]:
    markers = list(range(MARK, MARK - size, -1))
    return cast("tuple[str, list[Any]]", db.get_sql_context().sql(make(markers, *shape)).query())


def upsert(
    model: type[Model], fields: Sequence[Field[Any]], rows: Iterable[Sequence[object]], *, key: Sequence[Field[Any]]
) -> int:
    """Insert `rows` (laid out as `fields`); a row whose `key` exists replaces it. Returns the rows sent."""
    names = {field.name for field in key}  # by name: == on fields makes an expression, so `in` would always be true
    kept = [field for field in fields if field.name not in names]
    conflict = {"preserve": kept} if is_mysql() else {"preserve": kept, "conflict_target": list(key)}
    convert: list[Callable[[object], object]] = [field.db_value for field in fields]
    sent = 0
    for batch in batches(rows, BATCH_ROWS):
        # peewee writes the statement of one row, the driver repeats it: three times as fast as a statement of many.
        sql, values = model.insert_many(batch[:1], fields=list(fields)).on_conflict(**conflict).sql()
        defaults = values[len(fields) :]  # of columns that are not in `fields`
        laid_out = [[*(to(value) for to, value in zip(convert, row, strict=True)), *defaults] for row in batch]
        # No savepoint inside a transaction: after a deadlock MySQL has none, and going back to it would hide the error.
        with nullcontext() if db.in_transaction() else db.atomic(), __exception_wrapper__:
            _counted(partial(_execute_many, sql, laid_out))
        sent += len(batch)
    return sent


def _execute_many(sql: str, rows: list[list[object]]) -> list[list[object]]:
    """The driver's executemany, told to the query hooks as one statement. Returns what was sent."""
    started = time.perf_counter()
    failure: Exception | None = None
    try:
        db.cursor().executemany(sql, rows)
        return rows
    except Exception as error:
        failure = error
        raise
    finally:
        bound = db.obj
        for hook in bound.query_hooks if bound else ():
            hook(QueryEvent(sql, None, time.perf_counter() - started, failure))


@contextmanager
def observed(observer: Callable[[float], object]) -> Iterator[None]:
    """Tell `observer` the seconds of each statement that this thread runs meanwhile."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def _tell_observer(event: Any) -> None:
    observer = _observer.get()
    if observer:
        observer(event.duration)


def batches(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """`rows` in lists of at most `size`."""
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


# --- the query log ---------------------------------------------------------------------------------------------------


@contextmanager
def asking(who: str) -> Iterator[None]:
    """The query log names `who` for the statements of this thread in the block."""
    token = asked_by.set(who)
    try:
        yield
    finally:
        asked_by.reset(token)


def _query_hook(settings: Settings) -> Callable[[Any], None]:
    """Logs slow statements, or all with SQL_ECHO: placeholders, never values; rows only where `_counted` knows them."""
    limit = settings.slow_query_ms / 1000

    def tell(event: Any, seconds: float, rows: int | None) -> None:
        if seconds <= limit and not settings.sql_echo:
            return
        level, what = (logging.WARNING, "slow query") if seconds > limit else (logging.INFO, "query")
        # Not the error, which may hold values.
        outcome = ", failed" if event.exception else "" if rows is None else f", {rows} rows"
        sql = event.sql[:MOST_CHARACTERS]
        log.log(level, "%s, %.1f ms%s, asked by %s: %s", what, seconds * 1000, outcome, asked_by.get(), sql)

    def hook(event: Any) -> None:
        unfinished = _unfinished.get()
        if unfinished is None:
            tell(event, event.duration, None)
        else:
            unfinished.append(partial(tell, event))

    return hook
