"""A shop that gets an order every few seconds: `GET /orders?after=3` lists those after order 3."""

from __future__ import annotations

import argparse
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ITEMS = ["umbrella", "boots", "jacket", "gloves", "scarf"]
PAGE = 2
"""Orders of one answer; the rest is on the next page."""


class Api(BaseHTTPRequestHandler):
    """`GET /orders?after={number}`."""

    began = time.monotonic()
    every = 3.0

    def do_GET(self) -> None:
        """Answer with the next orders, and where to go on."""
        after = int(parse_qs(urlsplit(self.path).query).get("after", ["0"])[0])
        there = 3 + int((time.monotonic() - self.began) / self.every)
        numbers = range(after + 1, min(there, after + PAGE) + 1)
        orders = [{"number": n, "item": ITEMS[n % len(ITEMS)]} for n in numbers]
        body = json.dumps({"orders": orders, "next": after + len(orders)}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing for each request."""


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="a shop that gets orders")
    options.add_argument("--port", type=int, default=8766)
    options.add_argument("--every", type=float, default=3.0, help="seconds between two orders")
    given = options.parse_args()
    Api.every = given.every
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Api)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
