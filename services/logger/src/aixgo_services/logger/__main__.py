"""`python -m aixgo_services.logger`: serve the logger agents of a document until SIGTERM.

The same as `aixgo service --role logger`; `--help` lists the settings, each also a variable.
"""

from aixgo.cli import serve_role

if __name__ == "__main__":
    serve_role("logger")
