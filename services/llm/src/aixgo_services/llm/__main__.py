"""`python -m aixgo_services.llm`: serve the model gateway of a document until SIGTERM.

The same as `aixgo service --role llm`; `--help` lists the settings, each also a variable.
"""

from aixgo.cli import serve_role

if __name__ == "__main__":
    serve_role("llm")
