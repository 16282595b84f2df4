"""Fills a journal. Usage: journals.py URL HOST UNDER_WAY FINISHED: so many videos of each kind."""

import asyncio
import sqlite3
import sys

from hailuo_mcp.journal import Journal
from hailuo_mcp.records import Home, Intent

# One real record is multiplied, so that every column is as the journal itself writes it.
_MULTIPLY = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
INSERT INTO hailuo_videos ({names}) SELECT {values} FROM numbers, hailuo_videos WHERE task_id = :task
"""


async def main(path: str, host: str, under_way: int, finished: int) -> None:
    """Write them: finished ones first, as in a journal that has grown."""
    async with Journal(f"sqlite:///{path}", host=host) as journal:
        for kind, count in (("done", finished), ("p", under_way)):
            if not count:
                continue
            intent = Intent(f"key-{kind}", "A dandelion lets its seeds go", 6, "768P", True, False)
            video, _ = await journal.begin(intent, patience=60)
            await journal.submitted(video.id, f"{kind}-0")
            if kind == "done":
                await journal.brought_home(f"{kind}-0", Home(f"{path}.mp4", 1000))
            multiply(path, kind, count - 1)


def multiply(path: str, kind: str, count: int) -> None:
    """Add `count` copies of a record under keys and ids of their own."""
    own = {name: f"{name} || '-{kind}-' || n" for name in ("id", "key")} | {"task_id": f"'{kind}-' || n"}
    with sqlite3.connect(path) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(hailuo_videos)") if row[1] != "number"]
        values = ", ".join(own.get(name, name) for name in columns)
        statement = _MULTIPLY.format(names=", ".join(columns), values=values)
        if count:
            connection.execute(statement, {"count": count, "task": f"{kind}-0"})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
