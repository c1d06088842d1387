"""History of the plain shell: an SQLite file, or nothing."""

from typing import Any, Dict, List, Optional


class History:
    """Cells of this session and earlier ones. Nothing here raises."""

    def __init__(self, file: str) -> None:
        self._db: Any = None
        self._cells: List[List[Any]] = []
        self.session = 1
        self._file = file
        self._opened = False

    def _open(self) -> Any:
        """Return the database, opened at the first use, or None."""
        if self._opened:
            return self._db
        self._opened = True
        try:
            import sqlite3

            db = sqlite3.connect(self._file or ":memory:", timeout=1, isolation_level=None)
            db.execute("PRAGMA synchronous=OFF")
            db.execute(
                "CREATE TABLE IF NOT EXISTS cells"
                " (session INTEGER, line INTEGER, input TEXT, output TEXT,"
                " PRIMARY KEY (session, line))"
            )
            db.execute("CREATE TABLE IF NOT EXISTS sessions (session INTEGER PRIMARY KEY)")
            self.session = db.execute("INSERT INTO sessions VALUES (NULL)").lastrowid
            self._db = db
        except Exception:
            self._db = None
        return self._db

    def add(self, line: int, code: str) -> None:
        """Add a cell."""
        self._cells.append([line, code, None])

    def output(self, line: int, value: str) -> None:
        """Add the value of the last cell."""
        if self._cells and self._cells[-1][0] == line:
            self._cells[-1][2] = value

    def save(self) -> None:
        """Write what was added. Cheap enough for after each cell, when idle."""
        db = self._open()
        cells, self._cells = self._cells, []
        if db is None:
            return
        try:
            rows = [(self.session, *cell) for cell in cells]
            db.executemany("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?)", rows)
        except Exception:
            self._db = None

    def find(self, content: Dict[str, Any]) -> List[Any]:
        """Return what a history_request asks for."""
        self.save()
        db = self._open()
        if db is None:
            return []
        output = bool(content.get("output", False))
        n = content.get("n")
        n = n if isinstance(n, int) and n >= 0 else None
        kind = content.get("hist_access_type", "tail")
        try:
            if kind == "range":
                rows = self._range(content)
            elif kind == "search":
                rows = self._search(content, n)
            else:
                rows = self._last("", [], n)
        except Exception:
            return []
        return [
            [session, line, [code, shown] if output else code]
            for session, line, code, shown in rows
        ]

    def _range(self, content: Dict[str, Any]) -> List[Any]:
        session = content.get("session") or 0
        if session <= 0:
            session += self.session
        start, stop = content.get("start") or 0, content.get("stop")
        query = "SELECT session, line, input, output FROM cells WHERE session=? AND line>=?"
        values = [session, start]
        if isinstance(stop, int):
            query += " AND line<?"
            values.append(stop)
        return self._db.execute(query + " ORDER BY line", values).fetchall()

    def _search(self, content: Dict[str, Any], n: Optional[int]) -> List[Any]:
        where = "WHERE input GLOB ?"
        values = [str(content.get("pattern") or "*")]
        if content.get("unique"):
            where += " GROUP BY input HAVING max(session * 1000000 + line)"
        return self._last(where, values, n)

    def _last(self, where: str, values: List[Any], n: Optional[int]) -> List[Any]:
        query = "SELECT session, line, input, output FROM cells %s ORDER BY session DESC, line DESC"
        rows = self._db.execute(
            query % where + " LIMIT ?", [*values, -1 if n is None else n]
        ).fetchall()
        return rows[::-1]

    def close(self) -> None:
        """Write and close."""
        if self._cells:
            self.save()
        if self._db is not None:
            self._db.close()
            self._db = None
