"""`python -m aixgo_services.classifier`: serve the classifier agents of a document until SIGTERM.

The same as `aixgo service --role classifier`; `--help` lists the settings, each also a variable.
"""

import sys

from aixgo.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["service", "--role", "classifier"]
    main()
