"""What kind of change a statement makes, and which of them may follow each other: by literals."""

import pytest

from service.errors import BadRequest
from service.schema.kept_rows import Change
from service.schema.statements import DOWN, UP, Kind, Statement, Watch, objection

KINDS = {
    Kind.READ: [
        "SELECT 1",
        "  select * from parks",
        "SHOW CREATE TABLE `parks`",
        "DESCRIBE parks",
        "EXPLAIN SELECT 1",
        "SET SESSION foreign_key_checks = 0",
        "PRAGMA table_info(parks)",
        "SAVEPOINT `s1`;",
        "RELEASE SAVEPOINT `s1`;",
        "/* why */ SELECT 1",
        "-- why\nSELECT 1",
        "# why\n-- and\n/* more */ SELECT 1",
    ],
    Kind.ROWS: [
        "INSERT INTO `parks` (`name`) VALUES (%s)",
        "insert ignore into parks select * from parks_old",
        "UPDATE `parks` SET `note` = 'DROP TABLE parks'",
        "DELETE FROM parks",
        "REPLACE INTO parks VALUES (1)",
        "WITH x AS (SELECT 1) DELETE FROM parks",
        "DO SLEEP(1)",
        "/* DROP TABLE parks */ UPDATE parks SET note = ''",
        "\n\n   UPDATE parks SET note = ''",
    ],
    Kind.KEPT_ROWS: [
        Change("parks", "note IS NULL", (("note", "'x'"),)).statement.sql,
        Change("parks", "TRUE").statement.sql,
    ],
    Kind.SCHEMA: [
        "CREATE TABLE IF NOT EXISTS `parks` (`park_id` INTEGER AUTO_INCREMENT NOT NULL PRIMARY KEY)",
        "CREATE TABLE copies SELECT * FROM parks",
        "CREATE TABLE copies LIKE parks",
        "create table parks (x int)",
        "CREATE INDEX `parks_note` ON `parks` (`note`)",
        "CREATE UNIQUE INDEX `parks_note` ON `parks` (`note`)",
        "CREATE FULLTEXT INDEX words ON parks (name)",
        "DROP INDEX `parks_note` ON `parks`",
        "ALTER TABLE `rides` ADD COLUMN `speed` INTEGER",
        "ALTER TABLE `rides` ADD COLUMN `speed` DECIMAL(5, 2) NOT NULL DEFAULT 1, ADD INDEX (`speed`, `name`)",
        "ALTER TABLE rides ADD speed INT, ALGORITHM=INPLACE, LOCK=NONE",
        "ALTER ONLINE TABLE rides ADD speed INT",
        "ALTER TABLE rides ADD CONSTRAINT fk FOREIGN KEY (park_id) REFERENCES parks (park_id) ON DELETE CASCADE",
        "ALTER TABLE rides ADD CHECK (hits > 0 AND name IN ('a, DROP COLUMN b', \"c, DROP d\"))",
        "ALTER TABLE `rides` DROP FOREIGN KEY `fk`",
        "ALTER TABLE rides DROP CONSTRAINT fk, DROP INDEX one, DROP KEY two, DROP CHECK three",
        "ALTER TABLE daily_stats ADD COLUMN v INT DEFAULT 1 AFTER `ride_id`, DROP PRIMARY KEY, ADD PRIMARY KEY (d, v)",
        "ALTER TABLE rides ALTER COLUMN hits SET DEFAULT 1",
        "ALTER TABLE rides ALTER `hits` DROP DEFAULT",
        "ALTER TABLE rides ADD COLUMN note VARCHAR(9) COMMENT 'it''s, DROP COLUMN x'",
        "ALTER TABLE rides ADD COLUMN note VARCHAR(9) COMMENT 'back\\'s, DROP COLUMN x'",
        "ALTER TABLE rides ADD COLUMN `a, DROP COLUMN b` INT",
        "ALTER TABLE rides ADD COLUMN kind ENUM('a', 'b), DROP c') NOT NULL",
        "ALTER TABLE `a table` ADD COLUMN x INT",
        "ALTER TABLE `rides`\n  ADD COLUMN\n  x INT,\n  ADD COLUMN y INT",
        "/* ADD */ ALTER TABLE rides ADD x INT",
    ],
    Kind.FINAL: [
        "DROP TABLE `parks`",
        "DROP TABLE IF EXISTS `parks` CASCADE",
        "TRUNCATE TABLE parks",
        "RENAME TABLE parks TO places",
        "ALTER TABLE `parks` DROP COLUMN `note`",
        "ALTER TABLE `parks` DROP `note`",
        "ALTER TABLE `parks` DROP note",
        "ALTER TABLE parks DROP `index`",
        "ALTER TABLE `parks` MODIFY COLUMN `name` VARCHAR(300) NOT NULL",
        "ALTER TABLE parks MODIFY `note` VARCHAR(20) NOT NULL",
        "ALTER TABLE parks CHANGE note remark VARCHAR(20)",
        "ALTER TABLE `parks` RENAME COLUMN `note` TO `remark`",
        "ALTER TABLE `parks` RENAME TO `places`",
        "ALTER TABLE `parks` RENAME `places`",
        "ALTER TABLE parks CONVERT TO CHARACTER SET latin1",
        "ALTER TABLE parks ENGINE=MyISAM",
        "ALTER TABLE parks ADD x INT, DROP COLUMN note",
        "ALTER TABLE parks ADD x INT, DROP note, ADD y INT",
        "ALTER TABLE parks ADD x VARCHAR(9) DEFAULT 'a', MODIFY note INT",
        "ALTER TABLE parks ADD x INT COMMENT '(', DROP COLUMN note",
        "ALTER TABLE parks ADD x INT COMMENT 'a\\\\', DROP COLUMN note",
        "ALTER TABLE parks DROP PARTITION p1",
        "ALTER IGNORE TABLE parks ADD UNIQUE (name)",
        "ALTER TABLE parks",
        "ALTER DATABASE blank CHARACTER SET latin1",
        "CREATE OR REPLACE TABLE parks (x INT)",
        "CREATE TRIGGER t BEFORE UPDATE ON parks FOR EACH ROW SET @x = 1",
        "CREATE VIEW v AS SELECT 1",
        "GRANT ALL ON *.* TO somebody",
        "OPTIMIZE TABLE parks",
        "/*!50000 DROP TABLE parks */",
        "/* SELECT */ DROP TABLE parks",
        "-- SELECT\nDROP TABLE parks",
        "ANALYZE UPDATE parks SET note = ''",
        "UPDATES",
        "XA START 'x'",
        "",
    ],
}


@pytest.mark.parametrize(("kind", "sql"), [(kind, sql) for kind, found in KINDS.items() for sql in found])
def test_kind(kind, sql):
    assert Statement(sql).kind is kind


@pytest.mark.parametrize(
    "sql",
    [
        "SET STATEMENT max_statement_time = 1 FOR ALTER TABLE parks DROP COLUMN note",
        "BEGIN NOT ATOMIC DROP TABLE parks; END",
        "ALTER TABLE parks ADD x INT /* it's */, DROP COLUMN note /* it's */",
        "ALTER TABLE parks ADD x INT -- it's\n, DROP COLUMN note -- it's",
        "/*M!100100 DROP TABLE parks, */ SELECT 1",
    ],
)
def test_what_hides_in_another_statement_is_found(sql):
    assert Statement(sql).kind is Kind.FINAL


@pytest.mark.parametrize("sql", ["COMMIT", "START TRANSACTION", "BEGIN", "ROLLBACK"])
def test_the_end_of_the_transaction_that_takes_rows_back_is_no_reading(sql):
    assert Statement(sql).kind is not Kind.READ


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("CREATE TABLE `a table` (x INT)", "a table"),
        ("create table if not exists visits (x INT)", "visits"),
        ("/* new */ CREATE TABLE visits(x INT)", "visits"),
        ("CREATE INDEX by_name ON visits (name)", None),
        ("ALTER TABLE visits ADD x INT", None),
    ],
)
def test_the_table_that_a_statement_creates(sql, table):
    assert Statement(sql).created == table


# --- which may follow which ------------------------------------------------------------------------------------------

READ, ROWS, SCHEMA, FINAL = (Statement(sql) for sql in ("SELECT 1", "DELETE FROM a", "CREATE TABLE a", "DROP TABLE a"))
KEPT = Change("parks", "TRUE", (("note", "1"),)).statement
KEPT_ELSEWHERE = Change("rides", "TRUE").statement

MAY = [
    (UP, [], FINAL),
    (UP, [SCHEMA, SCHEMA], SCHEMA),
    (UP, [ROWS, ROWS], ROWS),
    (UP, [KEPT], KEPT_ELSEWHERE),
    (DOWN, [SCHEMA, SCHEMA], FINAL),
    (DOWN, [FINAL], FINAL),
    (DOWN, [KEPT], SCHEMA),
    (DOWN, [KEPT, SCHEMA], FINAL),
    (DOWN, [ROWS], ROWS),
]
MAY_NOT = [
    (UP, [SCHEMA], FINAL, "stands alone"),
    (UP, [FINAL], SCHEMA, "stands alone"),
    (UP, [FINAL], FINAL, "stands alone"),
    (UP, [SCHEMA], ROWS, "rows after the schema"),
    (UP, [SCHEMA], KEPT, "rows after the schema"),
    (UP, [FINAL], ROWS, "rows after the schema"),
    (UP, [ROWS], SCHEMA, "the schema after rows"),
    (UP, [ROWS], FINAL, "the schema after rows"),
    (UP, [KEPT], SCHEMA, "the schema after rows"),
    (UP, [KEPT], FINAL, "the schema after rows"),
    (UP, [KEPT], ROWS, "both in one transaction and in batches"),
    (UP, [ROWS], KEPT, "both in one transaction and in batches"),
    (UP, [KEPT], KEPT, "in batches twice"),
    (DOWN, [KEPT], ROWS, "both in one transaction and in batches"),
    (DOWN, [KEPT], KEPT, "in batches twice"),
    (DOWN, [ROWS], SCHEMA, "the schema after rows"),
    (DOWN, [ROWS], FINAL, "the schema after rows"),
    (DOWN, [SCHEMA], KEPT, "rows after the schema"),
    (DOWN, [FINAL], SCHEMA, "such steps come last"),
    (DOWN, [FINAL], KEPT, "rows after the schema"),
]


@pytest.mark.parametrize(("direction", "before", "statement"), MAY)
def test_may_follow(direction, before, statement):
    assert objection(direction, before, statement) is None


@pytest.mark.parametrize(("direction", "before", "statement", "reason"), MAY_NOT)
def test_may_not_follow(direction, before, statement, reason):
    assert reason in objection(direction, before, statement)


def test_what_is_refused_is_not_executed():
    executed: list[Statement] = []
    watch = Watch("007_mix", UP, executed.append)
    for sql in ("SELECT 1", "CREATE TABLE a (x INT)", "INSERT INTO migratehistory VALUES (1)"):
        watch.execute(sql)
    with pytest.raises(BadRequest, match="^Migration 007_mix is refused at `DROP TABLE b`: it has a step that nothing"):
        watch.execute("DROP   TABLE\n b")
    assert [str(statement).split()[0] for statement in executed] == ["SELECT", "CREATE", "INSERT"]
    assert watch.seen == [Statement("CREATE TABLE a (x INT)")]


def test_without_rules_all_is_executed_and_noted():
    executed: list[Statement] = []
    watch = Watch("007_mix", UP, executed.append, rules=False)
    for statement in (SCHEMA, FINAL, READ, ROWS):
        watch.execute(statement.sql, [1])
    assert [statement.sql for statement in watch.seen] == [SCHEMA.sql, FINAL.sql, ROWS.sql]
    assert len(executed) == 4
