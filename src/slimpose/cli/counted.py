"""Numbers of things in printed lines."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return a number with its noun in the singular or plural.

    >>> counted(1, "frame"), counted(2, "frame"), counted(0, "person")
    ('1 frame', '2 frames', '0 people')
    """
    if number != 1:
        thing = "people" if thing == "person" else f"{thing}s"
    return f"{number} {thing}"
