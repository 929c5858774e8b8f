"""Exit 0 when the service in this container answers 200 on the path given, 1 otherwise.

`/health`: the process is alive. `/ready`: it takes work. Standard library only, for speed.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT_SECONDS = 2.0
"""Under the three seconds that the Dockerfile and the compose file give a check."""


def answers_well(path: str) -> bool:
    """Tell whether `path` answers 200 in time."""
    port = int(os.environ["AIXGO_HEALTH_PORT"])
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not answers_well(sys.argv[1]))
