"""`python -m aixgo_services.orchestrator`: serve the orchestrators of a document until SIGTERM.

The same as `aixgo service --role orchestrator`; `--help` lists the settings, each also a variable.
"""

from aixgo.cli import serve_role

if __name__ == "__main__":
    serve_role("orchestrator")
