"""Personal data in texts: addresses of mail, card numbers, IBANs and phone numbers.

Numbers are only taken for what their check digits say they are, so that order numbers stay. The
patterns take time in proportion to the text, whatever it is made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from aixgo.config.hooks import PiiKind

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_PHONE = re.compile(
    r"(?<![\w.+-])(?<!\d[ -])(?:"
    r"(?:\+|00)[1-9](?:[ ./()-]{0,2}\d){6,14}"
    r"|\(?0\d{1,4}\)?[ /-](?:[ ./()-]{0,2}\d){4,11}"
    r"|\(?[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4}"
    r")(?!\w|[ -]\d)"
)

_CARD_LENGTHS = range(13, 20)
_IBAN_LENGTHS = range(15, 35)


def _is_card(text: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1)."""
    digits = [int(one) for one in text if one.isdigit()]
    if len(digits) not in _CARD_LENGTHS or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Check by remainder of 97 (ISO 13616)."""
    plain = text.replace(" ", "")
    if len(plain) not in _IBAN_LENGTHS:
        return False
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(one, 36)) for one in moved)) % 97 == 1


def _is_phone(text: str) -> bool:
    """At most 15 digits (ITU-T E.164), and not one of them again and again."""
    digits = [one for one in text if one.isdigit()]
    return len(digits) <= 15 and len(set(digits)) > 2


def _always(text: str) -> bool:
    return True


_KINDS: dict[PiiKind, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "email": (_EMAIL, _always),
    "iban": (_IBAN, _is_iban),
    "card": (_CARD, _is_card),
    "phone": (_PHONE, _is_phone),
}
"""In the order in which they are looked for: a card number may look like one of a phone."""


class Pii:
    """Finds and masks kinds of personal data."""

    def __init__(self, kinds: Iterable[PiiKind]) -> None:
        wanted = set(kinds)
        self._kinds = [(kind, *how) for kind, how in _KINDS.items() if kind in wanted]

    def masked(self, text: str) -> tuple[str, list[PiiKind]]:
        """Return the text with what was found masked, and the kind of each thing that was."""
        found: list[PiiKind] = []
        for kind, pattern, is_one in self._kinds:

            def mask(
                match: re.Match[str],
                kind: PiiKind = kind,
                is_one: Callable[[str], bool] = is_one,
            ) -> str:
                if not is_one(match.group()):
                    return match.group()
                found.append(kind)
                return f"[{kind}]"

            text = pattern.sub(mask, text)
        return text, found
