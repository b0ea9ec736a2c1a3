"""How values appear in our messages: short, on one line, and safe to print whatever they are."""

from __future__ import annotations

SHOWN_CHARS_MAX = 60


def shown(value: object) -> str:
    """
    Return *value* as a message may quote it.

    Only short text and plain numbers are quoted. The ``repr`` of anything else may be endless (a nested list), may
    raise (an integer of 5,000 digits) or may take seconds, so that its type has to do.
    """
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN_CHARS_MAX else f"{value[:SHOWN_CHARS_MAX]!r}…"
    if isinstance(value, int):
        return str(int(value)) if value.bit_length() <= 128 else "a number of more than 38 digits"
    return f"a value of type {type(value).__name__}"
