"""LaTeX: it compiles, fits the page, and obeys nothing that a name says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.leaderboard import Leaderboard, build_leaderboard, render
from synflow_bench.leaderboard.latex import PACKAGES

EVIL = "<script>alert(1)</script>|$x_1^2$ & \\foo{%}#~*`[a](b)"


def test_latex_has_the_best_in_bold_the_undecided_marked_and_rules_of_booktabs(text_of: Any) -> None:
    text = text_of("latex")
    assert r"\textbf{89.0 {\scriptsize (88.0--90.1)}}" in text
    assert r"88.0$^{?}$ {\scriptsize (86.0--90.0)}" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert text.count(r"\begin{") == text.count(r"\end{")


def test_latex_escapes_what_tex_would_obey(make_board: Any, make_record: Any) -> None:
    text = render(Leaderboard((make_board(more=[make_record("evil", parameters={"note": EVIL})]),)), "latex")
    assert r"\textless{}script\textgreater{}" in text
    assert r"\$x\_1\textasciicircum{}2\$ \& \textbackslash{}u005cfoo\{\%\}\#\textasciitilde{}" in text
    assert text.isascii()


def typeset(body: str, folder: Path) -> str:
    """What pdflatex says of a document; fails where it does not compile."""
    (folder / "board.tex").write_text(
        rf"\documentclass{{article}}{PACKAGES}\begin{{document}}{body}\end{{document}}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "board.tex"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_latex_compiles(tmp_path: Path, make_board: Any, make_record: Any) -> None:
    typeset(
        render(Leaderboard((make_board(more=[make_record("evil", parameters={"note": EVIL})]),)), "latex"),
        tmp_path,
    )


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
@pytest.mark.parametrize("much", [False, True])
def test_latex_of_nineteen_pruners_at_seven_compressions_is_no_wider_than_the_page(
    tmp_path: Path, make_record: Any, much: bool
) -> None:
    """Also with long names, ablations, a baseline, many collapsed layers and failures."""
    layers = tuple(f"layer{number}.0.downsample.weight" for number in range(5))
    names = [f"pruner-{n}[rounds={n},schedule=exponential]" if much else f"pruner-{n}" for n in range(19)]
    records = [
        make_record(
            name, c, seed, 0.9 - n / 100, collapsed_layers=layers if c > 100 else (), ablation=ablation
        )
        for n, name in enumerate(names)
        for c in (2, 10, 50, 100, 500, 1000, 10000)
        for seed in range(2)
        for ablation in (("none", "shuffle", "reinit", "invert") if much else ("none",))
    ]
    failed = [make_record(names[0], 10, 9, status="failed")] if much else []
    page = build_leaderboard([*records, *failed], baseline=names[1] if much else None)
    said = typeset(render(page, "latex"), tmp_path)
    assert "Overfull \\hbox" not in said
