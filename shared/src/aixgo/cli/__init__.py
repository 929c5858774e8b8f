"""The command line: one file for each verb, loaded when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

DEBUG = "AIXGO_DEBUG"
"""Variable that, when it is not empty, brings the traceback of every error."""


def serve_role(role: str) -> None:
    """Serve the agents of a role of a document: the main function of the role's package.

    The same as `aixgo service --role ROLE`, with the process's own arguments behind it.
    """
    main(["service", "--role", role, *sys.argv[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    `arguments` are those after the program's name; without them it takes the process's own.

    0 done, 1 a run or the system failed, 2 the command or the configuration is wrong, 130
    interrupted.
    """
    try:
        from aixgo.cli._group import build
    except ImportError as error:
        sys.stderr.write(
            f"the command line needs {error.name}: pip install 'aixgo[cli]'\n",
        )
        sys.exit(2)
    from aixgo.cli._failures import exit_code_of

    try:
        build().main(args=arguments, prog_name="aixgo")
    except Exception as error:  # noqa: BLE001  # the last line of defence: no traceback for users
        sys.exit(exit_code_of(error))
