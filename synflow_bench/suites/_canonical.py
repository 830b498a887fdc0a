"""One spelling of a value as JSON, so that equal values have equal hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# `json.dumps` would build one for each call: thousands of cells have a key.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; NaN and infinities are refused."""
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """The sha256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
