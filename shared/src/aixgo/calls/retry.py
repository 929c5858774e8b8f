"""When a failed execution runs again, and how long it waits."""

from __future__ import annotations

import random

from aixgo.config.agents import Retry
from aixgo.errors import AixgoError, Disconnected, DiskFull, RequestTimeout, code_of

BROKER_AWAY = (Disconnected, RequestTimeout, DiskFull)
"""What says nothing about the agent: its broker did not answer, or cannot write."""


def is_retryable(error: BaseException, retry_on: tuple[str, ...] = ()) -> bool:
    """Return whether doing the same again may help.

    Without `retry_on`: errors of Aixgo say it themselves, time-outs and connection errors may pass,
    everything else is taken for a fault that a second try would only repeat.

    Args:
        retry_on: codes, exception class names (base classes count) or `any`, instead of that.
    """
    if retry_on:
        if "any" in retry_on or code_of(error) in retry_on:
            return True
        return any(
            cls.__name__ in retry_on or getattr(cls, "code", None) in retry_on
            for cls in type(error).__mro__
        )
    if isinstance(error, BaseExceptionGroup):
        return all(is_retryable(one) for one in error.exceptions)
    if isinstance(error, AixgoError):
        return error.retryable
    return isinstance(error, TimeoutError | OSError)


def backoff(policy: Retry, attempt: int, *, jitter: float | None = None) -> float:
    """Return seconds to wait after execution `attempt` (1 for the first) has failed.

    Exponential, capped, with "equal jitter": half fixed, half random, so that many calls that
    failed together do not come back together, and none comes back at once.
    Source: AWS Architecture Blog, Exponential Backoff And Jitter (2015).

    Args:
        jitter: 0 to 1 in place of the random number, for tests.
    """
    exponent = min(attempt - 1, 64)
    ceiling = min(policy.max_backoff, policy.initial_backoff * policy.multiplier**exponent)
    share = random.random() if jitter is None else jitter
    return ceiling / 2 + ceiling / 2 * share


def next_delay(policy: Retry, attempt: int, error: BaseException) -> float | None:
    """Return seconds until the next execution, or None when there is none.

    A rate limit's `retry_after` is honoured when it is longer than the back-off. While the broker
    is away the policy's attempts are not used up: like a crash, an outage is not a failure of the
    agent.
    """
    if isinstance(error, BROKER_AWAY):
        return backoff(policy, attempt)
    if attempt >= policy.max_attempts or not is_retryable(error, policy.retry_on):
        return None
    delay = backoff(policy, attempt)
    asked = getattr(error, "retry_after", None)
    return max(delay, float(asked)) if asked else delay
