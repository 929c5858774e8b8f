"""A system that Python code declares, found by its name: `module:app`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from aixgo.config.reference import broken, imported, interrupted
from aixgo.errors import ConfigError
from aixgo.hosting.app import App

__all__ = ["named_app"]


def named_app(reference: str, directory: str | os.PathLike[str] = ".") -> App:
    """Return the `App` that `module:name` names, or that the function of that name returns.

    Args:
        directory: where the module is looked for first; the working directory without it.

    Raises:
        ConfigError: the module cannot be imported, has no such name, or it is something else; or
            the function fails, with an error of any class.
    """
    found = imported(reference, directory)
    if callable(found) and not isinstance(found, App | type):
        found = _made_by(found, reference)
    if not isinstance(found, App):
        raise ConfigError(
            f"{reference!r} is a {type(found).__name__}; name an App, such as "
            "`app = App([Agent(…)])`, or a function without parameters that returns one"
        )
    return found


def _made_by(factory: Callable[[], Any], reference: str) -> Any:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ConfigError(
            f"{reference!r} cannot be called without arguments: {error}; name an App, or a "
            "function without parameters that returns one"
        ) from error
    except ValueError:  # a builtin that does not say what it takes
        pass
    try:
        return factory()
    except ConfigError:
        raise
    except BaseException as error:
        if interrupted(error, getattr(factory, "__module__", "")):
            raise
        raise broken(f"the function {reference!r} fails", error, "mend the function") from error
