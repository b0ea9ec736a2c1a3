"""Jitter: the same entry and due time always give the same delay, on every beat and after every restart."""

from __future__ import annotations

from hashlib import blake2b


def jitter_ms(entry_name: str, due_ms: int, jitter_max_ms: int, next_due_ms: int | None) -> int:
    """
    Return by how many milliseconds the fire of *entry_name* at *due_ms* is put off.

    The result lies in [0, min(*jitter_max_ms*, distance to *next_due_ms*)), so that an entry's fires keep their
    order. It is a hash and not a random number: a new leader that plans the same fire again comes to the same
    moment, and nothing has to be remembered.

    Args:
        next_due_ms: The due time that follows, or None where this is the last one.
    """
    bound_ms = jitter_max_ms if next_due_ms is None else min(jitter_max_ms, next_due_ms - due_ms)
    if bound_ms <= 1:
        return 0
    return stable_hash(f"{due_ms}:{entry_name}") % bound_ms


def stable_hash(text: str) -> int:
    """Return 64 bits that depend on *text* alone: not on the process, as ``hash()`` does, nor on the host."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
