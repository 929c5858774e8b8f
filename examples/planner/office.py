"""What the steps of a plan can be done with; the planner names these and uses none of them."""


async def book_van(day: str, hours: int = 4) -> str:
    """Rent a van for a day."""
    return f"a van is booked on {day} for {hours} hours"


async def send_mail(to: str, text: str) -> str:
    """Write to somebody."""
    return f"sent to {to}: {text[:40]}"
