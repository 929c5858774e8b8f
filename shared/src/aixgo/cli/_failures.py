"""From an error to words on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

from aixgo.cli import DEBUG
from aixgo.errors import AixgoError, ConfigError
from aixgo.printable import printable

FAILED, WRONG, INTERRUPTED = 1, 2, 130


def exit_code_of(error: BaseException) -> int:
    """Say an error in its own words on stderr, and return the exit code that belongs to it."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error, file=sys.stderr)
    causes = _leaves(error)
    code = FAILED
    for cause in causes:
        if isinstance(cause, KeyboardInterrupt):
            return INTERRUPTED
        if isinstance(cause, AixgoError):
            sys.stderr.write(f"{printable(str(cause))}\n")
            code = WRONG if isinstance(cause, ConfigError) else code
        else:
            said = printable(str(cause))
            sys.stderr.write(
                f"internal error: {type(cause).__name__}: {said}; this is a bug of Aixgo, please "
                f"report it with the traceback that {DEBUG}=1 shows\n"
            )
    return code


def _leaves(error: BaseException) -> list[BaseException]:
    """Return what a group of errors is made of, each text once."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    leaves = [leaf for part in error.exceptions for leaf in _leaves(part)]
    return list({(type(leaf), str(leaf)): leaf for leaf in leaves}.values())
