"""LangGraph: a graph of five nodes, each checkpointed before the next: `langgraph_sqlite.py`.

SQLite as `AsyncSqliteSaver` sets it up: a write-ahead log that is synced with every commit.
"""

import asyncio
import itertools
import tempfile
from pathlib import Path
from typing import TypedDict

from _bout import PAYLOAD, check, obey
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    text: str


async def echo(state: State) -> State:
    return {"text": state["text"]}


async def main() -> None:
    graph = StateGraph(State)
    nodes = [f"echo-{number}" for number in range(1, 6)]
    for node in nodes:
        graph.add_node(node, echo)
    for one, next_one in itertools.pairwise([START, *nodes, END]):
        graph.add_edge(one, next_one)
    with tempfile.TemporaryDirectory(prefix="bench-langgraph-") as folder:
        async with AsyncSqliteSaver.from_conn_string(str(Path(folder, "runs.db"))) as saver:
            flow = graph.compile(checkpointer=saver)
            runs = itertools.count()

            async def call() -> str:
                config = {"configurable": {"thread_id": str(next(runs))}}
                state = await flow.ainvoke({"text": PAYLOAD}, config, durability="sync")
                return str(state["text"])

            check(await call())
            assert len([one async for one in saver.alist({"configurable": {"thread_id": "0"}})]) > 5
            await obey(call)


asyncio.run(main())
