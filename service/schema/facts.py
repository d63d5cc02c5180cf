"""What the open database says of itself."""

from __future__ import annotations

from service import database


def server() -> str:
    """Engine and version, such as "MariaDB 10.11.6"."""
    if not database.is_mysql():
        return f"SQLite {_value('SELECT sqlite_version()')}"
    version = str(_value("SELECT VERSION()"))
    return f"{'MariaDB' if 'MariaDB' in version else 'MySQL'} {version.partition('-')[0]}"


def size_bytes() -> int:
    """Bytes of all tables and indexes; the server's estimate on MySQL and MariaDB."""
    if database.is_mysql():
        return int(
            _value(
                "SELECT COALESCE(SUM(data_length + index_length), 0)"
                " FROM information_schema.tables WHERE table_schema = DATABASE()"
            )
        )
    return int(_value("PRAGMA page_count")) * int(_value("PRAGMA page_size"))


def _value(sql: str) -> int | str:
    value: int | str = database.db.execute_sql(sql).fetchone()[0]
    return value
