"""Reading TOML: what is wrong is said in the words of its writer."""

from __future__ import annotations

import pytest

from synflow_bench.toml import parse_toml


def test_a_quote_that_is_not_closed_is_named() -> None:
    with pytest.raises(ValueError, match=r"^a quote is not closed \(at line 1, column 13\)$"):
        parse_toml('name = "mine\n')
