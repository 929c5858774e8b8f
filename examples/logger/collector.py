"""A collector of logs: prints each record that is posted to it."""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Api(BaseHTTPRequestHandler):
    """`POST /in` with an object in each line."""

    def do_POST(self) -> None:
        """Print the records, and say that they are taken."""
        body = self.rfile.read(int(self.headers["content-length"]))
        for line in body.splitlines():
            record = json.loads(line)
            print(record["level"], json.dumps(record["payload"]), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing for each request."""


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="a collector of logs")
    options.add_argument("--port", type=int, default=8767)
    server = ThreadingHTTPServer(("127.0.0.1", options.parse_args().port), Api)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
