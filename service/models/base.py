"""The typed ground under the models: a Base whose calls the type checker can follow, UTC and enum columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar, cast, overload

from peewee import BigIntegerField, Field, Model, ModelInsert, ModelUpdate, Node, Query, SmallIntegerField

from service import database

# What every table and its text is on MariaDB and MySQL: transactions and foreign keys, and text that compares as
# SQLite's does.
ENGINE = "InnoDB"
COLLATION = "utf8mb4_bin"

M = TypeVar("M", bound=Model)
R = TypeVar("R", bound=NamedTuple)
E = TypeVar("E", bound=IntEnum)


class Base(Model):
    """All tables. Keyword forms (`create(nope=1)`) are hidden from the type checker: peewee accepts any keyword."""

    class Meta:
        database = database.db
        legacy_table_names = False

    if TYPE_CHECKING:

        def __init__(self) -> None: ...
        @classmethod
        def update(cls, data: Mapping[Field[Any], object], /) -> ModelUpdate: ...  # type: ignore[override]
        @classmethod
        def insert(cls, data: Mapping[Field[Any], object], /) -> ModelInsert: ...  # type: ignore[override]
        @classmethod
        def replace(cls, data: Mapping[Field[Any], object], /) -> ModelInsert: ...  # type: ignore[override]
        @classmethod
        def create(cls) -> Self: ...  # type: ignore[override]
        @classmethod
        def get(cls, *query: Node) -> Self: ...
        @classmethod
        def get_or_none(cls, *query: Node) -> Self | None: ...
        @classmethod
        def insert_many(cls, rows: Any, fields: list[Field[Any]]) -> ModelInsert: ...  # type: ignore[override]


class UtcColumn(BigIntegerField):
    """An instant as signed BIGINT epoch seconds; aware UTC datetimes in Python.

    Integers compare, sort and bucket alike on every engine, and an offset cannot get lost on the way.
    """

    def db_value(self, value: Any) -> int | None:
        """Epoch seconds of an aware datetime; whole numbers pass. Raises ValueError for a naive one."""
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError(f"{self.name}: {value!r} has no time zone")
            return int(value.timestamp())
        return None if value is None else int(value)

    def python_value(self, value: Any) -> datetime | None:
        """The aware UTC datetime of stored epoch seconds."""
        return None if value is None else datetime.fromtimestamp(int(value), UTC)


class EnumColumn(SmallIntegerField):
    """A member of an IntEnum as a small integer."""

    def __init__(self, enum: type[IntEnum], **kwargs: Any) -> None:
        self.enum = enum
        super().__init__(**kwargs)

    def db_value(self, value: Any) -> int | None:
        """The number of a member. Raises ValueError for anything else."""
        return None if value is None else int(self.enum(value))

    def python_value(self, value: Any) -> IntEnum | None:
        """The member of a stored number."""
        return None if value is None else self.enum(int(value))


# peewee's stubs make fields generic over their value, its classes are not: models declare the two columns above by
# these names, which tell the type checker what reading the column gives.
if TYPE_CHECKING:

    @overload
    def UtcField(*, null: Literal[True], **kwargs: Any) -> BigIntegerField[datetime | None]: ...
    @overload
    def UtcField(*, null: Literal[False] = ..., **kwargs: Any) -> BigIntegerField[datetime]: ...
    def UtcField(**kwargs: Any) -> Any: ...
    @overload
    def EnumField(enum: type[E], *, null: Literal[True], **kwargs: Any) -> SmallIntegerField[E | None]: ...
    @overload
    def EnumField(enum: type[E], *, null: Literal[False] = ..., **kwargs: Any) -> SmallIntegerField[E]: ...
    def EnumField(enum: type[E], **kwargs: Any) -> Any: ...

else:
    UtcField = UtcColumn
    EnumField = EnumColumn


def rows(query: Query, shape: type[R]) -> Iterator[R]:
    """Run a query whose select list is laid out as the NamedTuple `shape`; values as the driver gives them."""
    width = len(shape._fields)
    for row in database.fetch(query):
        if len(row) != width:
            raise TypeError(f"{shape.__name__} has {width} fields, the query gave {len(row)}")
        yield shape._make(row)


def alias(model: type[M]) -> type[M]:
    """`model.alias()` with its columns still checked."""
    return cast("type[M]", model.alias())
