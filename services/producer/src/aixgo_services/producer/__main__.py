"""`python -m aixgo_services.producer`: serve the producer agents of a document until SIGTERM.

The same as `aixgo service --role producer`; `--help` lists the settings, each also a variable.
"""

from aixgo.cli import serve_role

if __name__ == "__main__":
    serve_role("producer")
