"""Files of strangers: valid ones, damaged in the ways that files are."""

import json
import random
import re
from typing import Any

from hypothesis import strategies as st

_JUNK = ("", "\0", "\xff\xfe", "\n", '"', "'", "{", "}", "[", "]", "=", ",", "null", "nan", "1e999")
_NUMBERS = ("-1", "0", "99999999999999999999999", "0.5", "true", "[]", "{}", '"x"', "2024-01-01")
_VALUES = (None, True, -1, 0, 1.5, 1e308, float("nan"), 10**30, "", "x", "\0", [], {}, [[]])
_SEEDS = st.integers(0, 2**32)


def damaged(text: bytes) -> st.SearchStrategy[bytes]:
    """A few bytes taken away, put in, doubled or moved; or one number in place of another."""
    return _SEEDS.map(lambda seed: _damage(text, random.Random(seed)))


def other(text: str) -> st.SearchStrategy[str]:
    """JSON still, with another value, one less, or one more somewhere."""
    return _SEEDS.map(lambda seed: _change(text, random.Random(seed)))


def _damage(text: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice((1, 1, 3, 20, 200)))
        match rng.choice(("cut", "junk", "bytes", "twice", "number", "number", "end")):
            case "cut":
                text = text[:at] + text[end:]
            case "junk":
                text = text[:at] + rng.choice(_JUNK).encode("latin-1") + text[end:]
            case "bytes":
                text = text[:at] + rng.randbytes(rng.randint(1, 8)) + text[at:]
            case "twice":
                text = text[:end] + text[at:]
            case "number":
                places = list(re.finditer(rb"\d+", text)) or [re.compile(b"").match(text)]
                start, end = rng.choice([place.span() for place in places if place])
                text = text[:start] + rng.choice(_NUMBERS).encode() + text[end:]
            case "end":
                text = text[:at]
    return text


def _change(text: str, rng: random.Random) -> str:
    value: Any = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        value = _changed(value, rng)
    return json.dumps(value)


def _changed(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(_VALUES)
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    if rng.random() < 0.15:
        del value[key]
    elif isinstance(value, dict) and rng.random() < 0.15:
        value[rng.choice(("", "x", "-1", "\0"))] = rng.choice(_VALUES)
    else:
        value[key] = _changed(value[key], rng)
    return value
