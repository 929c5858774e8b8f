"""When a failed execution runs again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.calls.retry import backoff, is_retryable, next_delay
from aixgo.config.agents import Retry
from aixgo.errors import Disconnected, InvalidPayload, ModelTimeout, RateLimited, RequestTimeout


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_a_backoff_is_between_half_and_the_whole_of_its_ceiling(
    attempt: int, jitter: float
) -> None:
    policy = Retry(initial_backoff=0.5, max_backoff=8, multiplier=2)
    ceiling = min(8.0, 0.5 * 2 ** min(attempt - 1, 64))
    assert ceiling / 2 <= backoff(policy, attempt, jitter=jitter) <= ceiling


@pytest.mark.parametrize(
    ("error", "retry_on", "expected"),
    [
        (RateLimited("slow down"), (), True),
        (TimeoutError(), (), True),
        (ConnectionResetError(), (), True),
        (InvalidPayload("no"), (), False),
        (ValueError("bug"), (), False),
        (ValueError("bug"), ("ValueError",), True),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), ("ValueError",), True),
        (ValueError("bug"), ("any",), True),
        (RateLimited("slow down"), ("model_timeout",), False),
        (ModelTimeout("late"), ("model",), True),
        (TimeoutError(), ("timeout",), True),
    ],
)
def test_what_is_retried(error: BaseException, retry_on: tuple[str, ...], expected: bool) -> None:
    assert is_retryable(error, retry_on) is expected


def test_the_last_attempt_is_followed_by_none() -> None:
    policy = Retry(max_attempts=3)
    assert next_delay(policy, 2, TimeoutError()) is not None
    assert next_delay(policy, 3, TimeoutError()) is None


@pytest.mark.parametrize("error", [RequestTimeout("no answer"), Disconnected("down")])
def test_a_broker_that_is_away_uses_up_no_attempts(error: BaseException) -> None:
    assert next_delay(Retry(max_attempts=1), 7, error) is not None


def test_a_longer_retry_after_is_honoured() -> None:
    policy = Retry(initial_backoff=0.1, max_backoff=0.1)
    assert next_delay(policy, 1, RateLimited("slow down", retry_after=7.0)) == 7.0
