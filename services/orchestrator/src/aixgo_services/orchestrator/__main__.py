"""`python -m aixgo_services.orchestrator`: serve the orchestrators of a document until SIGTERM.

The same as `aixgo service --role orchestrator`; `--help` lists the settings, each also a variable.
"""

import sys

from aixgo.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["service", "--role", "orchestrator"]
    main()
