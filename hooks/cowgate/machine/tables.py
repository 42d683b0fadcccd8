"""What stands in the tables of a SQLite database that is in memory: no file is opened, the bytes were read before."""

from typing import NamedTuple, Optional, Union

TABLES, ROWS = 100, 50  # what is looked at of one database
Cell = Union[str, bytes, int, float, None]


class Table(NamedTuple):
    """The names of the columns, and the first rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def tables_of(data: bytes) -> Optional[tuple[Table, ...]]:
    """The tables with their first rows; None where it is no whole one, or Python (before 3.11) cannot ask in memory."""
    try:
        import sqlite3  # may be missing: a Python without it looks into nothing
    except ImportError:
        return None
    connection = sqlite3.connect(":memory:")
    try:
        if not hasattr(connection, "deserialize"):
            return None
        connection.deserialize(data[:18] + b"\1\1" + data[20:])  # a write-ahead log is a file of its own
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' LIMIT ?", (TABLES,)).fetchall()
        found = []
        for (name,) in names:
            quoted = str(name).replace('"', '""')
            cursor = connection.execute(f'SELECT * FROM "{quoted}" LIMIT {ROWS}')
            found.append(Table(tuple(str(column[0]) for column in cursor.description), tuple(cursor.fetchall())))
        return tuple(found)
    except (sqlite3.Error, ValueError, OverflowError, MemoryError):
        return None
    finally:
        connection.close()
