"""The task of the react contenders: a refund with two tools, the same for all. Standard library."""

ORDER, CENTS = "A1", 1250
QUESTION = f"Refund order {ORDER}."
ANSWER = f"Paid {CENTS} cents for {ORDER}."
PROMPT = "You refund orders."


def lookup(order: str) -> int:
    """Look up what an order cost, in cents."""
    return CENTS


def pay(order: str, cents: int) -> str:
    """Pay the money of an order back."""
    return f"paid {cents} for {order}"


def check_answer(text: object) -> None:
    """Refuse to be measured on a wrong answer."""
    if text != ANSWER:
        raise SystemExit(f"wrong answer: {text!r:.80}")
