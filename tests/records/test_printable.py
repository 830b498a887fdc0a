"""Text from plugins, before it reaches a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.records import printable, printable_lines


@given(st.text())
def test_what_is_printable_is_one_line_of_printable_letters(text: str) -> None:
    assert printable(text).isprintable()
    assert all(line.isprintable() for line in printable_lines(text).split("\n"))


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1))
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert printable(text) == printable_lines(text) == text


def test_lines_keep_their_indentation() -> None:
    assert printable_lines("Traceback:\n  boom\n\tx") == "Traceback:\n  boom\n    x"
    assert printable("Traceback:\n  boom") == "Traceback: boom"
