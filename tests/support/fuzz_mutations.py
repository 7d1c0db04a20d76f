"""Ways to damage a file's bytes, a document's values and a text's lines."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

LONG = 200_000
"""Characters of a value that no message should repeat."""
ESCAPES = "\x1b[31mred\x07\x1b]0;title\x07\r\nslimpose: forged"
VALUES: Sequence[Any] = (
    None, True, False, 0, 1, -1, 2, 17, 0.5, -0.5, 1e9, -1e308, 2**31, 2**63, 10**30,
    float("nan"), float("inf"), float("-inf"), "", "0", "1", "x", "NaN", "../../x", "\u202e\u0000",
    ESCAPES, "A" * LONG, [], [[]], [None], [0], {}, {"x": None}, ["x", 1], [float("nan")] * 4,
)  # fmt: skip
TOML_VALUES = (
    "", "0", "1", "-1", "0.5", "1e9", "-1e308", "nan", "inf", "-inf", "99999999999999999999",
    "true", '""', '"x"', '"../../x"', '"\\u001b[31mred\\u0007"', '"' + "A" * LONG + '"', "[]",
    "[[]]", "{}", "{ x = 1 }", '["x", 1]', "2026-11-29", "[nan, nan]", "'''\nline\n'''",
)  # fmt: skip
MAX_DEPTH = 100_000


def damaged_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes truncated, changed, deleted, repeated or replaced somewhere."""
    start = rng.randrange(len(data) + 1)
    length = rng.choice((1, 2, 4, 16, 256, len(data) // 2))
    way = rng.randrange(8)
    if way == 0:
        return data[:start]
    if way == 1:  # a bit here and there
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 4, 32))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if way == 2:
        return data[:start] + rng.randbytes(length) + data[start + length :]
    if way == 3:
        return data[:start] + data[start + length :]
    if way == 4:
        return data[:start] + data[start : start + length] * 2 + data[start + length :]
    if way == 5:
        return data[:start] + bytes([rng.choice((0, 255))]) * length + data[start + length :]
    if way == 6:  # the head of the file, where sizes are
        changed = bytearray(data)
        for _ in range(rng.choice((1, 2, 4))):
            changed[rng.randrange(min(64, len(changed)))] = rng.randrange(256)
        return bytes(changed)
    return rng.choice((b"", b"\n", b"\x00" * 100, rng.randbytes(200), b"\xef\xbb\xbf" + data))


def damaged_document(rng: random.Random, document: Any, *, changes: int = 1) -> Any:
    """Return a copy of a JSON document with values replaced, removed, renamed or repeated."""
    result = copy.deepcopy(document)
    for _ in range(changes):
        places = _places(result)
        if not places:
            return rng.choice(VALUES)
        parent, key = rng.choice(places)
        way = rng.randrange(8)
        if way <= 4:
            parent[key] = copy.deepcopy(rng.choice(VALUES))
        elif way == 5:
            del parent[key]
        elif isinstance(parent, dict):
            parent[rng.choice(("x", ESCAPES, "A" * LONG, key + " "))] = parent.pop(key)
        else:
            parent.insert(key, copy.deepcopy(parent[key]))
    return result


def damaged_json(rng: random.Random, document: Any) -> bytes:
    """Return a damaged document as JSON, or damaged JSON."""
    way = rng.randrange(10)
    if way == 0:
        return damaged_bytes(rng, json.dumps(document).encode())
    if way == 1:
        nested = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
        whole = json.dumps(rng.choice(VALUES)).encode()
        text = json.dumps(document)
        encoded = text.encode("utf-16"), text.encode("utf-8-sig")
        return rng.choice((nested, whole, *encoded))
    return json.dumps(damaged_document(rng, document, changes=rng.choice((1, 1, 1, 2, 3)))).encode()


def damaged_toml(rng: random.Random, text: str) -> bytes:
    """Return TOML text with values and lines changed, or damaged bytes."""
    lines = text.splitlines()
    way = rng.randrange(8)
    if way == 0:
        return damaged_bytes(rng, text.encode())
    if way == 1:
        return rng.choice((b"a = " + b"[" * MAX_DEPTH, text.encode("utf-16"), b"\xef\xbb\xbf"))
    for _ in range(rng.choice((1, 1, 2))):
        number = rng.randrange(len(lines))
        name, equals, _ = lines[number].partition("=")
        if way <= 5 and equals and "[[" not in name:
            lines[number] = f"{name}= {rng.choice(TOML_VALUES)}"
        elif way == 6:
            del lines[number]
        else:
            lines.insert(rng.randrange(len(lines)), lines[number])
        if not lines:
            break
    return "\n".join(lines).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container with each of its keys or indices."""
    places: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        places = [(value, key) for key in value]
    elif isinstance(value, list):
        places = [(value, index) for index in range(len(value))]
    for parent, key in list(places):
        places += _places(parent[key])
    return places
