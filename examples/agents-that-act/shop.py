"""The shop: an HTTP API with its orders (`python3 shop.py`), and the refund, which acts once."""

from __future__ import annotations

import argparse
import json
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from aixgo.tools import Done, NotDone, Resolution, ToolContext, tool

ORDERS = {
    "A1": {"order": "A1", "item": "umbrella", "cents": 1250, "days": 3},
    "B2": {"order": "B2", "item": "boots", "cents": 8900, "days": 60},
}
BOOKS = Path("refunds.db")
"""Who was paid what, by the key of the step that paid it."""


def books() -> sqlite3.Connection:
    """Open the books."""
    found = sqlite3.connect(BOOKS)
    found.execute(
        "CREATE TABLE IF NOT EXISTS refunds (key TEXT PRIMARY KEY, number TEXT, cents INTEGER)"
    )
    return found


def was_paid(order: str, ctx: ToolContext) -> Resolution:
    """Look into the books when a crash left open whether a refund took place."""
    with closing(books()) as open_books, open_books:
        row = open_books.execute(
            "SELECT cents FROM refunds WHERE key = ?", (ctx.idempotency_key,)
        ).fetchone()
    return Done(f"refunded {row[0]} cents for order {order}") if row else NotDone()


@tool(effect="once", reconcile=was_paid, timeout="5s")
def refund(order: str, cents: int, ctx: ToolContext) -> str:
    """Pay the money of an order back. It cannot be undone."""
    with closing(books()) as open_books, open_books:
        row = (ctx.idempotency_key, order, cents)
        open_books.execute("INSERT INTO refunds VALUES (?, ?, ?)", row)
    return f"refunded {cents} cents for order {order}"


class Api(BaseHTTPRequestHandler):
    """`GET /orders/{number}`."""

    def do_GET(self) -> None:
        """Answer with an order, or 404."""
        order = ORDERS.get(self.path.removeprefix("/orders/"))
        body = json.dumps(order or {"error": "there is no such order"}).encode()
        self.send_response(200 if order else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing for each request."""


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="the shop's HTTP API")
    options.add_argument("--port", type=int, default=8765)
    server = ThreadingHTTPServer(("127.0.0.1", options.parse_args().port), Api)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
