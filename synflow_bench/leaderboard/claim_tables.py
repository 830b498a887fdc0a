"""Verdicts on published numbers as tables for every format, and as lines for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from synflow_bench.errors import UnknownNameError, count
from synflow_bench.leaderboard.claims import (
    NO_BOARD,
    NO_NETWORK,
    NO_PRUNER,
    SUSPECT,
    Claim,
    ClaimChecks,
    Verdict,
)
from synflow_bench.leaderboard.data_formats import csv_text
from synflow_bench.leaderboard.formatting import BLANK, TableCell, compression, difference, interval
from synflow_bench.leaderboard.published import EPOCHS, PublishedNumber, PublishedSource
from synflow_bench.leaderboard.tables import Column, Section, Table

CLAIM_FORMS = ("table", "markdown", "csv", "json", "html")
"""The formats of the verdicts."""
TITLE = "Published numbers beside ours"
_SPREADS = {
    "sd": "standard deviation",
    "se": "standard error",
    "unstated": "spread of a kind that is not stated",
}


def summary(checks: ClaimChecks) -> str:
    """Return the numbers, the papers and the verdicts in one line."""
    numbers = f"{count(len(checks.claims), 'published number')} of {count(len(checks.papers), 'paper')}"
    if not checks.compared:
        return f"{numbers}; none of them is comparable with a board here"
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in checks.counts.items())
    return f"{numbers}: {verdicts}"


def rules(checks: ClaimChecks) -> list[str]:
    """Return the lines that say what the verdicts mean."""
    points = f"{100 * checks.margin:g}"
    within = f"{points} point" + "s" * (points != "1")
    return [
        "comparable: same dataset, network, method, time of pruning, compression and epoch of the accuracy, "
        "and the same recipe and protocol in every field that the source states",
        f"reproduced: the 95 % interval of our mean minus the published number lies within {within}; "
        f"not reproduced: it lies outside; undecided: it does neither",
        "each interval holds alone, so that about one in twenty misses",
    ]


def claim_sections(checks: ClaimChecks, *, details: bool = False) -> Iterator[Section]:
    """Yield the verdicts: the numbers that could be compared, counts by source, and reasons.

    Args:
        checks: The verdicts.
        details: Also yield every number, in one section per source.
    """
    tables = [compared_table(checks.compared)] if checks.compared else []
    tables.append(paper_table(checks))
    if len(checks.compared) < len(checks.claims):
        tables.append(reason_table(checks))
    yield Section(TITLE, (summary(checks),), tuple(tables), tuple(rules(checks)))
    if details:
        yield from (source_section(source, claims) for source, claims in by_source(checks.claims))


def by_source(claims: Sequence[Claim]) -> list[tuple[PublishedSource, list[Claim]]]:
    """Return the claims of each table or figure, in their order."""
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.published.source.name, []).append(claim)
    return [(group[0].published.source, group) for group in groups.values()]


def compared_table(claims: Sequence[Claim]) -> Table:
    """Return the numbers that could be compared, one line each."""
    columns = (
        Column("number", is_text=True),
        Column("method", is_text=True),
        Column("setting", is_text=True),
        Column("row", is_text=True),
        *map(Column, ("compression", "published", "ours", "difference")),
        Column("verdict", is_text=True),
    )
    rows = (
        (
            claim.published.id,
            claim.published.method,
            f"{claim.published.dataset} / {claim.published.model}",
            claim.row,
            compression(claim.published.compression),
            published(claim.published),
            interval(claim.ours),
            difference(claim.difference),
            claim.verdict,
        )
        for claim in claims
    )
    return Table("Compared with a board", columns, tuple(map(_cells, rows)))


def paper_table(checks: ClaimChecks) -> Table:
    """Return the number of claims of each paper, of those that could be compared, and their verdicts."""
    papers: dict[str, list[Verdict]] = {}
    for claim in checks.claims:
        papers.setdefault(claim.published.source.short, []).append(claim.verdict)
    decided: tuple[Verdict, ...] = ("reproduced", "not reproduced") if checks.compared else ()

    def cells(paper: str, verdicts: Sequence[Verdict]) -> Iterator[str]:
        yield paper
        yield str(len(verdicts))
        yield _number(len(verdicts) - verdicts.count("not comparable"))
        yield from (_number(verdicts.count(verdict)) for verdict in decided)

    columns = (Column("paper", is_text=True), *map(Column, ("numbers", "compared", *decided)))
    return Table("By paper", columns, tuple(_cells(tuple(cells(*each))) for each in papers.items()))


def reason_table(checks: ClaimChecks) -> Table:
    """Return the kinds of reasons why numbers cannot be compared, the most common first."""
    columns = (Column("not comparable because", is_text=True), Column("numbers"))
    rows = ((reason, str(number)) for reason, number in checks.reasons.items())
    return Table("Reasons", columns, tuple(map(_cells, rows)))


def source_section(source: PublishedSource, claims: Sequence[Claim]) -> Section:
    """Return every number of one table or figure, with its citation."""
    return Section(source.name, tuple(source_facts(source)), (source_table(claims),), source.notes)


def source_table(claims: Sequence[Claim]) -> Table:
    """Return every number of one table or figure with its verdict, one line each."""
    words = ("number", "dataset / network", "method", "pruned", "as given")
    columns = (
        *(Column(heading, is_text=True) for heading in words),
        Column("published"),
        Column("ours"),
        Column("verdict", is_text=True),
        Column("because", is_text=True),
    )
    rows = (
        (
            claim.published.id.rpartition("-")[2],
            f"{claim.published.dataset} / {claim.published.reported_model}",
            claim.published.method,
            claim.published.protocol,
            claim.published.given,
            published(claim.published),
            interval(claim.ours),
            claim.verdict,
            _brief(claim.reason),
        )
        for claim in claims
    )
    return Table("", columns, tuple(map(_cells, rows)))


def _brief(reason: str) -> str:
    """Return a reason without what other columns, or the facts about the source, say already."""
    kind = reason.partition(":")[0]
    return kind if kind in (SUSPECT, NO_NETWORK, NO_PRUNER, NO_BOARD) else reason


def source_facts(source: PublishedSource) -> Iterator[str]:
    """Yield the citation of a source, the place where it was read, its metric and its recipe."""
    yield source.cited
    yield f"read in {source.read}"
    seeds = "runs not stated" if source.seeds is None else count(source.seeds, "run")
    kind = f", {_SPREADS[source.spread]}" if source.spread else ""
    yield f"{EPOCHS[source.metric]}; {seeds}{kind}"
    for kind, stated in (("recipe", source.recipe), ("protocol", source.protocol)):
        if stated:
            fields = (f"{name.replace('_', ' ')} {_shown(value)}" for name, value in stated.items())
            yield f"{kind} as stated: {', '.join(fields)}"
    yield from (f"{pruner} is suspect: {source.flaw}" for pruner in source.suspect)


def published(number: PublishedNumber) -> str:
    """Return a published accuracy in percent with its spread: `76.80 ±0.09`."""
    spread = "" if number.spread is None else f" ±{100 * number.spread:.2f}"
    return f"{100 * number.top1:.2f}{spread}"


def render_claims(checks: ClaimChecks, form: str) -> str:
    """Return verdicts as text; equal verdicts give equal text.

    Args:
        checks: The verdicts.
        form: One of `CLAIM_FORMS`.

    Raises:
        UnknownNameError: There is no such format.
    """
    renderers: dict[str, Callable[[ClaimChecks], str]] = {
        "table": _plain,
        "markdown": _markdown,
        "csv": _csv,
        "json": _json,
        "html": _html,
    }
    if form not in renderers:
        raise UnknownNameError("format of claims", form, CLAIM_FORMS)
    return renderers[form](checks)


def _plain(checks: ClaimChecks) -> str:
    from synflow_bench.leaderboard.terminal import sections_as_text

    return sections_as_text(claim_sections(checks, details=True))


def _markdown(checks: ClaimChecks) -> str:
    from synflow_bench.leaderboard.markdown import render_sections

    return render_sections("Claims", claim_sections(checks, details=True))


def _html(checks: ClaimChecks) -> str:
    from synflow_bench.site import claims_page

    return claims_page(checks)


def to_dicts(checks: ClaimChecks) -> list[dict[str, Any]]:
    """Return one dictionary per published number, all with equal keys; accuracies are shares in [0, 1].

    Missing numbers are None.
    """
    return [_line(claim) for claim in checks.claims]


def _line(claim: Claim) -> dict[str, Any]:
    number, source = claim.published, claim.published.source
    ours, differing = claim.ours, claim.difference
    return {
        "id": number.id,
        "verdict": claim.verdict,
        "reason": claim.reason,
        "paper": source.citation,
        "arxiv": source.arxiv,
        "where": source.where,
        "read_in": source.read,
        "dataset": number.dataset,
        "model": number.model,
        "reported_model": number.reported_model,
        "method": number.method,
        "pruner": number.pruner,
        "protocol": number.protocol,
        "compression_given": number.given,
        "compression": number.compression,
        "metric": source.metric,
        "published_top1": number.top1,
        "published_spread": number.spread,
        "published_spread_kind": source.spread if number.spread is not None else "",
        "published_seeds": number.seeds,
        "recipe": dict(source.recipe),
        "protocol_fields": dict(source.protocol),
        "notes": list(source.notes),
        "ours_top1": ours.mean if ours else None,
        "ours_low": ours.low if ours else None,
        "ours_high": ours.high if ours else None,
        "ours_seeds": ours.n if ours else None,
        "difference": differing.mean if differing else None,
        "difference_low": differing.low if differing else None,
        "difference_high": differing.high if differing else None,
        "board": claim.board.id if claim.board else "",
        "row": claim.row,
    }


def _csv(checks: ClaimChecks) -> str:
    lines = [
        {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in line.items()}
        for line in to_dicts(checks)
    ]
    return csv_text(lines[0] if lines else (), lines)


def _json(checks: ClaimChecks) -> str:
    content = {"counts": checks.counts, "margin": checks.margin, "claims": to_dicts(checks)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cells(texts: Sequence[str | TableCell]) -> tuple[TableCell, ...]:
    return tuple(text if isinstance(text, TableCell) else TableCell(text) for text in texts)


def _number(value: int) -> str:
    return str(value) if value else BLANK


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
