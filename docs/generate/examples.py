"""A griffe extension: mkdocstrings renders a section `Examples`, and our docstrings say `Example`."""

from __future__ import annotations

import griffe


class Examples(griffe.Extension):
    """Rename the section in every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rename it in the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
