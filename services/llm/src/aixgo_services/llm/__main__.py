"""`python -m aixgo_services.llm`: serve the model gateway of a document until SIGTERM.

The same as `aixgo service --role llm`; `--help` lists the settings, each also a variable.
"""

import sys

from aixgo.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["service", "--role", "llm"]
    main()
