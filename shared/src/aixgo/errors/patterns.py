"""Base of the errors of orchestration patterns; each pattern has its own in its own file."""

from __future__ import annotations

from .base import AixgoError


class PatternError(AixgoError):
    """An orchestration pattern could not finish."""

    code = "pattern"
