"""How much of the flow a round cuts (figure 7 of Tanaka et al. 2020, arXiv 2006.05467).

As long as a round removes less than the smallest cut of a layer, no layer collapses; more rounds, and an
exponential schedule, keep the ratio small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

from torch import Tensor

from synflow_bench.charts import HEIGHT, INK, RAMP, WIDTH, titled
from synflow_bench.errors import UsageError
from synflow_bench.pruning import Masks, Problem, run_pruner
from synflow_bench.pruning._problem import Score
from synflow_bench.studies._flow import flow_of, total
from synflow_bench.studies._panels import by_network, log_axis, panels
from synflow_bench.studies._request import Request, Variant
from synflow_bench.studies._subject import Subject
from synflow_bench.studies._table import Row

Flow = Callable[[Problem, Mapping[str, Tensor]], float]

TITLE = "Score removed in a round over the total flow"


def rows(request: Request) -> Iterator[Row]:
    """A row a pruning: `cut_ratio` is the largest over its rounds, None where nothing flowed at all."""
    for subject in request.subjects():
        for variant, compression in product(request.variants(), request.compressions):
            ratios = cut_ratios(subject, variant, compression)
            shared = {**subject.row, **variant.columns, "compression": compression}
            yield {**shared, "cut_ratio": max(ratios, default=None), "rounds_with_flow": len(ratios)}


def cut_ratios(subject: Subject, variant: Variant, compression: float) -> list[float]:
    """Round by round: the scores newly cut over the total flow before; rounds without flow are left out."""
    problem = subject.pose(variant.pruner, variant.spec.name, _Watched)
    problem = replace(problem, flow=partial(flow_of, variant.pruner))
    run_pruner(variant.pruner, problem, 1 / compression)
    if not problem.cuts:
        raise UsageError(f"pruner {variant.label!r} has no rounds of scores; choose one that scores weights")
    return [cut / flow for cut, flow in problem.cuts if flow > 0]


@dataclass(frozen=True)
class _Watched(Problem):
    """A problem that notes what every round cuts."""

    flow: Flow = lambda _problem, _scores: 0.0
    cuts: list[tuple[float, float]] = field(default_factory=list)

    def keep(self, score: Score, *, revive: bool = False) -> tuple[Problem, Masks]:
        """As every problem, with a look at the scores."""
        seen: dict[str, Tensor] = {}

        def noting(problem: Problem) -> Mapping[str, Tensor]:
            scores = score(problem)
            seen.update(scores)
            return scores

        problem, after = super().keep(noting, revive=revive)
        # Copies of all scores would cost as much memory as the network.
        scores = {name: score.detach() for name, score in seen.items()}
        cut = sum(total(scores[name][self.masks[name] & ~mask]) for name, mask in after.items())
        self.cuts.append((cut, self.flow(problem, scores)))
        return problem, after


def chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Cut ratio by rounds, a colour a compression, a panel a schedule and pruner; dotted: all that flows.

    A point is hollow where the flow ended before the rounds did.
    """
    import altair as alt

    drawn = _drawn(rows)
    x_axis = log_axis((row["rounds"] for row in drawn), grid=False)
    ratios = [1.0, *(row["cut_ratio"] for row in drawn)]
    title = "largest cut / total flow"
    base = alt.Chart().encode(
        x=alt.X("rounds:Q", title="rounds", scale=alt.Scale(type="log", nice=False), axis=x_axis),
        y=alt.Y("mean(cut_ratio):Q", title=title, scale=alt.Scale(type="log"), axis=log_axis(ratios)),
        color=alt.Color("compression:O", title="compression", scale=alt.Scale(scheme=RAMP)),
    )
    rule = alt.Chart().mark_rule(strokeDash=[2, 3], color=INK).encode(y=alt.datum(1.0))
    whole = base.mark_point(filled=True).transform_filter("!datum.ended")
    ended = base.mark_point(filled=False, fill="white", opacity=1).transform_filter("datum.ended")
    layered = alt.layer(rule, base.mark_line(), whole, ended).properties(width=WIDTH, height=HEIGHT)
    return titled(panels(layered, drawn), f"{TITLE}: {by_network(rows)}", [*lines, *_notes(rows, drawn)])


def _drawn(rows: Sequence[Row]) -> list[Row]:
    """The rows with a ratio, by panel; `ended` where the flow of any seed died before the last round."""
    ended = {_point(row) for row in rows if row["rounds_with_flow"] < row["rounds"]}
    return [
        {**row, "pruner": f"{row['pruner']}, {row['schedule']}", "ended": _point(row) in ended}
        for row in rows
        if row["cut_ratio"]
    ]


def _point(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("dataset", "model", "pruner", "schedule", "rounds", "compression"))


def _notes(rows: Sequence[Row], drawn: Sequence[Row]) -> list[str]:
    notes = ["the largest over the rounds of a pruning; dotted: a round cuts as much as flows in all"]
    if any(row["ended"] for row in drawn):
        notes.append("hollow: the flow died on the way; rounds in which nothing flows do not count")
    if len(drawn) < len(rows):
        notes.append(f"not drawn: {len(rows) - len(drawn)} of {len(rows)} prunings, which cut no flow")
    return notes
