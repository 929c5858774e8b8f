"""Signs that a text tries to give orders to a model.

They are hints for people and logs. No list of patterns holds off an attacker who writes around it:
what must not happen is refused where it would, by effects of tools, confirmations and permissions.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata

LONGEST = 200_000
"""Characters of a text that are looked at: the first and the last half of so many."""

_DECODED = 20  # longest runs of base64 that are decoded, of one text

_SIGNS: dict[str, re.Pattern[str]] = {
    "override": re.compile(
        r"\b(?:ignore|disregard|forget|override|bypass)\b[^.\n]{0,40}"
        r"\b(?:previous|prior|above|earlier|all|your|these)\b[^.\n]{0,30}"
        r"\b(?:instructions?|prompts?|rules?|guidelines?|directions?|training)\b"
    ),
    "role": re.compile(
        r"\b(?:you are now|from now on you|act as|pretend (?:to be|that you)|"
        r"enter) [^.\n]{0,40}\b(?:unrestricted|jailbroken|dan|developer mode|admin|root|"
        r"without (?:any )?(?:restrictions|rules|filters))\b"
    ),
    "leak": re.compile(
        r"\b(?:reveal|show|print|repeat|output|tell me|leak|dump)\b[^.\n]{0,40}"
        r"\b(?:system prompt|hidden (?:prompt|instructions?)|initial instructions?|"
        r"your (?:instructions?|prompt|rules|secrets?|api key))"
    ),
    "markup": re.compile(
        r"<\|(?:im_start|im_end|system|endoftext)\|>|\[/?inst\]|<</?sys>>|"
        r"(?:^|\n) {0,3}#{2,4} ?(?:system|instructions?)\b|</?system>"
    ),
    "exfiltration": re.compile(
        r"\b(?:send|post|upload|forward|exfiltrate)\b[^.\n]{0,60}"
        r"\b(?:credentials?|passwords?|api keys?|secrets?|tokens?|conversation|history)\b"
        r"[^.\n]{0,60}(?:https?://|@)"
    ),
}

_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,4000}={0,2}")
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]{4,}")
_LOOKALIKES = str.maketrans("аеорсухіјѕԁһӏ", "aeopcyxijsdhl")


def signs_in(text: str) -> list[str]:
    """Return the signs of injection that a text has, sorted; empty for none.

    Letters that only look like Latin ones and texts in base64 are looked at as what they say.
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"
    found = _found(text)
    if _INVISIBLE.search(text):
        found.add("invisible")
    for number, match in enumerate(_BASE64.finditer(text)):
        if number == _DECODED:
            break
        if (hidden := _decoded(match.group())) and _found(hidden):
            found.add("encoded")
    return sorted(found)


def _found(text: str) -> set[str]:
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_LOOKALIKES)
    return {name for name, pattern in _SIGNS.items() if pattern.search(plain)}


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text[: len(text) // 4 * 4], validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
