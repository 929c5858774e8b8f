"""When the far side of an HTTP call asks to come back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from aixgo import clock


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer's headers (names in any case) ask to wait, or None."""
    found = {name.lower(): value for name, value in headers.items()}
    if milliseconds := _seconds(found.get("retry-after-ms", "")):
        return milliseconds / 1000
    value = found.get("retry-after", "")
    if (seconds := _seconds(value)) is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
        # a date of HTTP is in GMT, whether it says so or not
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - clock.now())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _seconds(value: str) -> float | None:
    pattern = r"\d{1,9}(\.\d{1,9})?"
    return float(value) if re.fullmatch(pattern, value.strip(), re.ASCII) else None
