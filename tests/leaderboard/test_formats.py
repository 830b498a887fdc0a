"""Every format of a board: complete, honest about what is missing, inert, and always the same."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard import (
    FORMATS,
    build_boards,
    build_leaderboard,
    format_of,
    print_boards,
    render,
)
from synflow_bench.leaderboard._details import detail_table
from synflow_bench.leaderboard._latex import PACKAGES
from synflow_bench.leaderboard._words import summary
from synflow_bench.suites import ModelSpec, PruningOptions, Recipe, Setting, Singleshot

EVIL = "<script>alert(1)</script>|$x_1^2$ & \\foo{%}#~*`[a](b)"
PROSE = [name for name in FORMATS if name not in {"csv", "json"}]


@pytest.fixture
def text_of(make_record: Any, example: list[Any]) -> Any:
    """The example with a failed cell, in any format."""

    def text_of(form: str) -> str:
        failed = make_record(
            "snip", 50, seed=3, status="failed", message="layer 'fc_1' has 100 % NaN & <more>"
        )
        return render(build_boards([*example, failed]), form)

    return text_of


@pytest.mark.parametrize("form", FORMATS)
def test_equal_records_give_equal_bytes_in_any_order(example: list[Any], form: str) -> None:
    expected = render(build_boards(example), form)
    assert render(build_boards(reversed(example)), form) == expected
    assert expected.endswith("\n")


@pytest.mark.parametrize("form", PROSE)
@pytest.mark.parametrize(
    "said",
    ["digits / fc", "5 epochs, adam, lr 0.1", "validation 10", "3 seeds (0, 1, 2)", "synflow", "theoretical"],
)
def test_what_a_reader_needs_to_judge_a_board_is_in_every_format(text_of: Any, form: str, said: str) -> None:
    assert said in text_of(form)


@pytest.mark.parametrize("form", PROSE)
@pytest.mark.parametrize(
    "said", ["after the final epoch", "95", "t-interval", "nothing runs faster", "log compression"]
)
def test_every_format_defines_its_terms(text_of: Any, form: str, said: str) -> None:
    assert said in " ".join(text_of(form).split())


@pytest.mark.parametrize("form", PROSE)
def test_failed_cells_are_in_the_footer(text_of: Any, form: str) -> None:
    assert "snip: 1 cell failed, not averaged (ScoreError" in " ".join(text_of(form).split())


@pytest.mark.parametrize("form", [*PROSE])
def test_a_smoke_run_is_called_one(make_board: Any, form: str) -> None:
    text = render([make_board({"snip": {10: (0.5,)}})], form)
    said = "smoke run: fewer than 3 seeds in every row (at most 1) and fewer than 5 compressions above 1 (1)"
    assert said in " ".join(text.split())


@pytest.mark.parametrize("form", [*PROSE])
def test_a_published_board_is_not_called_a_smoke_run(text_of: Any, form: str) -> None:
    assert "smoke run" not in text_of(form)


@pytest.mark.parametrize("form", FORMATS)
def test_no_boards_can_be_rendered_too(form: str) -> None:
    assert render([], form)


def test_markdown_has_the_best_in_bold_and_ties_marked(text_of: Any) -> None:
    rows: dict[str, str] = {}
    for line in text_of("markdown").splitlines():
        if line.startswith("|"):
            rows.setdefault(line.split("|")[1].strip(), line)
    assert "**89.0 ±2.6**" in rows["synflow"]
    assert "≈" not in rows["synflow"]
    assert "88.0 ±5.0 ≈" in rows["random"]
    assert {"≈", "**"}.isdisjoint(rows["snip"])


def test_markdown_columns_are_the_compressions(text_of: Any) -> None:
    header = next(line for line in text_of("markdown").splitlines() if line.startswith("| pruner"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "pruner", "1", "2", "5", "10", "20", "50", "rank", "area", "area to best", "intact to",
    ]  # fmt: skip


def test_markdown_rows_all_have_as_many_cells_as_their_header(make_board: Any, make_record: Any) -> None:
    text = render([make_board(more=[make_record(label=EVIL, pruner="evil")])], "markdown")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_latex_has_the_best_in_bold_ties_marked_and_rules_of_booktabs(text_of: Any) -> None:
    text = text_of("latex")
    assert r"\textbf{89.0$_{\pm 2.6}$}" in text
    assert r"88.0$_{\pm 5.0}^{\approx}$" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert text.count(r"\begin{") == text.count(r"\end{")


def test_latex_escapes_what_tex_would_obey(make_board: Any, make_record: Any) -> None:
    text = render([make_board(more=[make_record(label=EVIL, pruner="evil")])], "latex")
    assert r"\textless{}script\textgreater{}" in text
    assert r"\$x\_1\textasciicircum{}2\$ \& \textbackslash{}foo\{\%\}\#\textasciitilde{}" in text
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
    typeset(render([make_board(more=[make_record(label=EVIL, pruner="evil")])], "latex"), tmp_path)


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


def test_details_have_no_column_that_is_empty_throughout(make_record: Any) -> None:
    bare = {"theoretical_speedup": None}
    headers, _ = detail_table(build_boards([make_record(seed=seed, **bare) for seed in range(2)])[0])
    assert headers == ["pruner", "asked", "achieved", "prune s", "n"]


def test_csv_has_a_line_for_every_row_and_compression_in_full_precision(text_of: Any) -> None:
    lines = list(csv.DictReader(io.StringIO(text_of("csv"))))
    assert len(lines) == 1 + 3 * 5
    (line,) = (each for each in lines if (each["row"], each["compression"]) == ("synflow", "10.0"))
    assert float(line["final_epoch_test_top1_mean"]) == pytest.approx((0.88 + 0.89 + 0.901) / 3, rel=1e-15)
    assert (line["n"], line["seeds"], line["standing"]) == ("3", "0;1;2", "best")
    (failed,) = (each for each in lines if each["failed"] == "1")
    assert (failed["row"], failed["compression"]) == ("snip", "50.0")


def test_csv_has_the_differences_of_areas_from_the_best_and_the_baseline(example: list[Any]) -> None:
    page = build_leaderboard(example, baseline="random")
    lines = {line["row"]: line for line in csv.DictReader(io.StringIO(render(page, "csv")))}
    (board,) = page.boards
    for row in board.rows:
        for name, found in (("best", row.area_to_best), ("baseline", row.area_to_baseline)):
            mean, half_width = (
                lines[row.label][f"row_area_to_{name}_{part}"] for part in ("mean", "t95_half_width")
            )
            assert (mean, half_width) == ((repr(found.mean), repr(found.half_width)) if found else ("", ""))
    assert lines["snip"]["row_area_to_best_mean"].startswith("-0.03")


@pytest.mark.parametrize(
    ("form", "cells"),
    [
        ("markdown", [" best |", "-3.0 ±0.1"]),
        ("table", ["best ", "-3.0 ±0.1"]),
        ("latex", ["& best &", r"-3.0$_{\pm 0.1}$"]),
        ("html", ["best<", '-3.0 <span class="spread">±0.1</span>']),
    ],
)
def test_prose_has_the_difference_of_the_area_from_the_best(
    text_of: Any, form: str, cells: list[str]
) -> None:
    text = text_of(form)
    assert "area to best" in text
    table = text.split("asked")[0]
    assert all(cell in table for cell in cells)


def test_json_has_every_seed_and_what_the_terms_mean(text_of: Any) -> None:
    (board,) = json.loads(text_of("json"))
    synflow = next(row for row in board["rows"] if row["label"] == "synflow")
    assert synflow["entries"][2]["top1"] == pytest.approx({"0": 0.88, "1": 0.89, "2": 0.901}, rel=1e-15)
    assert board["setting"]["recipe"]["lr"] == 0.1
    assert board["incidents"][0]["cells"] == [[50.0, 3]]
    assert board["smoke_run"] is False
    assert "nothing runs faster" in board["definitions"]["speedup"]


class Page(html.parser.HTMLParser):
    """The tags of a page, and the links that would leave it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in {"src", "href"} or name.startswith("on")]


def test_html_stands_alone_and_runs_nothing(make_board: Any, make_record: Any) -> None:
    more = [
        make_record(label=EVIL, pruner="evil", collapsed_layers=("<img src=x onerror=alert(1)>",)),
        make_record("snip", 10, seed=9, status="failed", message="<script>alert(2)</script>"),
    ]
    text = render([make_board(more=more)], "html")
    page = Page(text)
    assert {"script", "img", "link", "a", "iframe"}.isdisjoint(page.tags)
    assert page.links == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "url(" not in text
    assert "@import" not in text


def test_html_follows_the_light_and_dark_of_the_reader(text_of: Any) -> None:
    assert "prefers-color-scheme: dark" in text_of("html")
    assert '<td class="best">89.0 <span class="spread">±2.6</span>' in text_of("html")


def test_the_table_marks_the_best_and_the_ties_by_signs(text_of: Any) -> None:
    text = text_of("table")
    assert "89.0 ±2.6*" in text
    assert "88.0 ±5.0≈" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_terminal_table_is_never_wider_than_the_terminal(make_board: Any, width: int) -> None:
    text = printed(make_board(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text, "no number and no header is cut"


def printed(board: Any, width: int, **options: Any) -> str:
    sink = io.StringIO()
    print_boards([board], Console(file=sink, width=width), **options)
    return sink.getvalue()


def test_a_narrow_terminal_gets_the_intervals_below_the_means_and_a_very_narrow_one_several_tables(
    make_board: Any,
) -> None:
    wide, narrow, slim = (printed(make_board(), width, details=False) for width in (130, 80, 40))
    assert "89.0 ±2.6*" in wide
    assert "89.0*" in narrow
    assert "89.0*" in slim
    assert [text.count("pruner ") for text in (wide, narrow, slim)] == [1, 1, 2]


def test_details_can_be_left_out(make_board: Any) -> None:
    assert "prune s" in printed(make_board(), 100).split("accuracy")[0]
    assert "achieved" not in printed(make_board(), 100, details=False).split("accuracy")[0]


def test_brackets_in_a_row_are_not_markup(make_board: Any, make_record: Any) -> None:
    records = [make_record("synflow[rounds=10]"), make_record("evil", label="[bold red]evil[/]")]
    text = printed(make_board(more=records), 120)
    assert "synflow[rounds=10]" in text
    assert "[bold red]evil[/]" in text


def test_missing_seeds_and_failures_show_in_the_accuracy_table(make_board: Any, make_record: Any) -> None:
    failed = [make_record("grasp", 10, seed=seed, status="failed") for seed in range(3)]
    text = render([make_board({"snip": {5: (0.5, 0.6, 0.7), 10: (0.5, 0.6)}}, failed)], "markdown")
    snip = next(line for line in text.splitlines() if line.startswith("| snip"))
    grasp = next(line for line in text.splitlines() if line.startswith("| grasp"))
    assert "n=2" in snip
    assert "failed" in grasp


def test_the_summary_tells_everything_that_differs_from_a_plain_recipe() -> None:
    recipe = Recipe(
        epochs=160,
        lr=0.1,
        weight_decay=1e-4,
        schedule="step",
        milestones=(60, 120),
        warmup_epochs=1,
        label_smoothing=0.1,
        gradient_clip=1,
        augment=False,
        precision="bf16",
        channels_last=True,
        compile="cuda-graphs",
        validation_fraction=0,
    )
    setting = Setting(
        dataset="cifar10",
        model=ModelSpec(name="lottery/resnet20", options={"residual": True}),
        recipe=recipe,
        protocol=Singleshot(pre_epochs=2),
        pruning=PruningOptions(scope="local", prune_bias=True, dense_classifier=True, examples_per_class=1),
        root_seed=7,
    )
    assert summary(setting) == (
        "160 epochs, momentum 0.9 (Nesterov), lr 0.1, batch 128, step schedule (x 0.1 at 60, 120), "
        "warm-up 1 epoch, weight decay 0.0001, label smoothing 0.1, gradient clip 1, no augmentation, bf16, "
        "channels last, compiled, CUDA graphs, validation 0 % of train, pruned after 2 epochs, local scope, "
        "1 example a class, biases pruned, dense classifier, model residual True, root seed 7"
    )


@pytest.mark.parametrize(("form", "suffix"), FORMATS.items())
def test_the_suffix_of_a_file_names_its_format(form: str, suffix: str) -> None:
    assert format_of(Path(f"board{suffix}")) == format_of(Path(f"BOARD{suffix.upper()}")) == form


def test_an_unknown_suffix_or_format_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"use one of \.txt, \.md, .* or name it with --format"):
        format_of(Path("board.docx"))
    with pytest.raises(UnknownNameError, match="unknown format 'markdwn'; did you mean 'markdown'"):
        render([], "markdwn")


def test_no_format_loads_a_heavy_library() -> None:
    code = (
        "import sys; from synflow_bench.leaderboard import FORMATS, render; [render([], f) for f in FORMATS];"
        "sys.exit(bool({'torch', 'numpy', 'scipy', 'pandas'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
