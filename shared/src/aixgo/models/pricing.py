"""What a call cost: known, free, or honestly unknown."""

from __future__ import annotations

from msgspec.structs import replace

from aixgo.envelope import Usage
from aixgo.models.settings import Price


def cost_of(usage: Usage, price: Price) -> float:
    """Return US dollars."""
    cached_price = price.input if price.cached_input is None else price.cached_input
    fresh = usage.prompt_tokens - usage.cached_tokens
    per_million = (
        fresh * price.input
        + usage.cached_tokens * cached_price
        + usage.completion_tokens * price.output
    )
    return per_million / 1_000_000


def priced_usage(usage: Usage, price: Price | None, *, free: bool) -> Usage:
    """Return the usage of one call with its cost, or counted as unpriced.

    Args:
        price: of the model, when somebody stated it; it counts more than `free`.
        free: the model runs on the user's own machines.
    """
    cost: float | None = None
    if price is None:
        cost = 0.0 if free else None
    elif usage.total_tokens:  # what the provider did not count cannot be priced
        cost = cost_of(usage, price)
    return replace(
        usage,
        model_calls=1,
        cost_usd=cost or 0.0,
        unpriced_calls=1 if cost is None else 0,
    )
