"""The command line: one file for each verb, loaded when it is used."""

from __future__ import annotations

import sys

DEBUG = "AIXGO_DEBUG"
"""Variable that, when it is not empty, brings the traceback of every error."""


def main() -> None:
    """Run the command line and leave the process with its exit code.

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
        build().main(prog_name="aixgo")
    except Exception as error:  # noqa: BLE001  # the last line of defence: no traceback for users
        sys.exit(exit_code_of(error))
