"""`python -m aixgo_services.aggregator`: serve the aggregator agents of a document until SIGTERM.

The same as `aixgo service --role aggregator`; `--help` lists the settings, each also a variable.
"""

from aixgo.cli import serve_role

if __name__ == "__main__":
    serve_role("aggregator")
