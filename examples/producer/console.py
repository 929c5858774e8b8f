"""Prints every event that it hears."""

from aixgo import Message


async def show(message: Message) -> None:
    """Print where an event comes from, and what it says."""
    print(f"{message.source}: {message.text}", flush=True)
