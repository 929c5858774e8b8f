"""DBOS: a workflow of five steps on SQLite with its defaults: `dbos_sqlite.py`."""

import asyncio
import tempfile
from pathlib import Path

from _bout import PAYLOAD, check, obey
from dbos import DBOS


@DBOS.step()
async def echo(text: str) -> str:
    return text


@DBOS.workflow()
async def flow(text: str) -> str:
    for _ in range(5):
        text = await echo(text)
    return text


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-dbos-") as folder:
        url = f"sqlite:///{Path(folder, 'runs.db')}"
        DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
        DBOS.launch()

        async def call() -> str:
            return await flow(PAYLOAD)

        check(await call())
        await obey(call)
        DBOS.destroy()


asyncio.run(main())
