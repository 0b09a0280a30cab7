"""The steps that bring a store's file from any earlier shape to today's; all steps and their record share one transaction."""

import sqlite3

_TABLE = "CREATE TABLE {} (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    tuple(_TABLE.format(table) for table in ("object", "twin", "device", "retained", "session", "queued")),
    tuple(_TABLE.format(table) for table in ("sent", "received")),
    (_TABLE.format("rollout"),),
    (_TABLE.format("pod"),),
)
"""Statements of version 1, 2, …: append only. `PRAGMA user_version` says how many a file has had."""


class MigrationError(Exception):
    """The file was written by a newer release."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest shape. Raises MigrationError for a file of a newer release."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise MigrationError(f"its shape is version {version}, this release knows up to {len(MIGRATIONS)}")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        if version < len(MIGRATIONS):
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
