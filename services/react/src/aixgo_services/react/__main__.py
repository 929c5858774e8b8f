"""`python -m aixgo_services.react`: serve the react agents of a document until SIGTERM.

The same as `aixgo service --role react`; `--help` lists the settings, each also a variable.
"""

import sys

from aixgo.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["service", "--role", "react"]
    main()
