"""A system that Python code declares, found by its name: `module:app`."""

from __future__ import annotations

import os

from aixgo.config.reference import imported
from aixgo.errors import ConfigError
from aixgo.hosting.app import App


def named_app(reference: str, directory: str | os.PathLike[str] = ".") -> App:
    """Return the `App` that `module:name` names, or that the function of that name returns.

    Args:
        directory: where the module is looked for first; the working directory without it.

    Raises:
        ConfigError: the module cannot be imported, has no such name, or it is something else.
    """
    found = imported(reference, directory)
    if callable(found) and not isinstance(found, App | type):
        try:
            found = found()
        except TypeError as error:
            raise ConfigError(
                f"{reference!r} cannot be called without arguments: {error}; name an App, or a "
                "function without parameters that returns one"
            ) from error
    if not isinstance(found, App):
        raise ConfigError(
            f"{reference!r} is a {type(found).__name__}; name an App, such as "
            "`app = App([Agent(…)])`, or a function without parameters that returns one"
        )
    return found
