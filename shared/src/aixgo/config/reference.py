"""`module:name`: how a document or a command names an object in Python code."""

from __future__ import annotations

import dis
import importlib
import os
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError, text_of
from aixgo.printable import printable

_MAX_REASON = 400  # characters of what a module raised
_RAISE = dis.opmap["RAISE_VARARGS"]

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def is_reference(text: str) -> bool:
    """Whether a text has the form `module:name` (`package.module:object.attribute` included)."""
    return _REFERENCE.fullmatch(text) is not None


def imported(reference: str, directory: str | os.PathLike[str] | None = None) -> Any:
    """Return the object that `module:name` names; its module is imported.

    Args:
        directory: put first on the module search path, for good, as Python does with the directory
            of a script; modules that are imported later are found there as well.

    Raises:
        ConfigError: the text has another form, the module cannot be imported, or it has no such
            name; says which. Whatever the module raises is such an error, of any class.
        KeyboardInterrupt: the person pressed Ctrl-C while the module was imported.
    """
    if not is_reference(reference):
        raise ConfigError(
            f"{reference!r} does not name an object in a module; write `module:name`, such as "
            "`shop.agents:quote`"
        )
    if directory is not None:
        _search_first(directory)
    module_name, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            where = "" if directory is None else f" in {os.fspath(directory) or '.'!r} or"
            raise ConfigError(
                f"there is no module {error.name!r}{where} among the installed packages; check the "
                "name, or install its package"
            ) from error
        raise _not_imported(module_name, error) from error
    except BaseException as error:
        if interrupted(error, module_name):
            raise
        raise _not_imported(module_name, error) from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            public = [known for known in vars(found) if not known.startswith("_")]
            raise ConfigError(
                f"{reference!r}: the module {module_name!r} has no {path!r}"
                f"{did_you_mean(name, public)}"
            ) from None
        except BaseException as error:  # a `__getattr__` or a property is code too
            if interrupted(error, module_name):
                raise
            what = f"{reference!r}: to read {name!r} fails"
            raise broken(what, error, "mend the module") from error
    return found


def _search_first(directory: str | os.PathLike[str]) -> None:
    place = str(Path(directory).resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
        importlib.invalidate_caches()


def _not_imported(module: str, error: BaseException) -> ConfigError:
    return broken(f"the module {module!r} cannot be imported", error, "mend the module")


def broken(what: str, error: BaseException, fix: str) -> ConfigError:
    """Return the error of a person's own code that raised, in one line."""
    name, text = type(error).__name__, text_of(error)
    reason = text if text.startswith(name) else f"{name}: {text}"
    reason = " ".join(printable(reason).split())
    if len(reason) > _MAX_REASON:
        reason = f"{reason[:_MAX_REASON]}…"
    return ConfigError(f"{what}: {reason}; {fix}")


def interrupted(error: BaseException, module: str) -> bool:
    """Whether a person pressed Ctrl-C: no `raise` in the module itself is the cause."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    last: TracebackType | None = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or last.tb_frame.f_globals.get("__name__") != module:
        return True
    return last.tb_frame.f_code.co_code[last.tb_lasti] != _RAISE
