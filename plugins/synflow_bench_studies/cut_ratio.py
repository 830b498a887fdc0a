"""Cut ratios: the score that a round of pruning removes, over the total flow (figure 7).

Tanaka et al. 2020, arXiv 2006.05467. As long as a round removes less than the smallest cut of a layer, no
layer collapses. More rounds and an exponential schedule keep the ratio small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from synflow_bench.charts import HEIGHT, INK, RAMP, WIDTH, titled
from synflow_bench.errors import UsageError
from synflow_bench.pruning import Masks, Problem, ScoreGroups, run_pruner
from synflow_bench_studies.panels import log_axis, networks, panels
from synflow_bench_studies.request import Request, Subject, Variant, score_sum, total_flow
from synflow_bench_studies.table import Row

TITLE = "Score removed in a round over the total flow"

Score = Callable[[Problem], Mapping[str, Tensor]]


def cut_rows(request: Request) -> Iterator[Row]:
    """Yield one row per pruning: `cut_ratio` is the largest of its rounds, None where no round had flow."""
    for subject in request.subjects():
        for found in request.defined(subject, partial(_ratios, subject)):
            ratios = found.result
            yield {**found.row, "cut_ratio": max(ratios, default=None), "rounds_with_flow": len(ratios)}


def _ratios(subject: Subject, variant: Variant, compression: float) -> list[float]:
    """The score that each round removes over the total flow before it; rounds without flow are left out."""
    problem = subject.pose(variant, _Recording)
    problem = replace(problem, flow=partial(total_flow, variant.pruner))
    run_pruner(variant.pruner, problem, 1 / compression)
    if not problem.cuts:
        raise UsageError(f"pruner {variant.label!r} has no rounds of scores; choose one that scores weights")
    return [cut / flow for cut, flow in problem.cuts if flow > 0]


@dataclass(frozen=True)
class _Recording(Problem):
    """A problem that records the removed score and the total flow of every round."""

    flow: Callable[[Problem, Mapping[str, Tensor]], float] = lambda _problem, _scores: 0.0
    cuts: list[tuple[float, float]] = field(default_factory=list)

    def keep(
        self, score: Score, *, revive: bool = False, score_groups: ScoreGroups | None = None
    ) -> tuple[Problem, Masks]:
        """Do the same as every problem, and record the round."""
        seen: dict[str, Tensor] = {}

        def record(problem: Problem) -> Mapping[str, Tensor]:
            scores = score(problem)
            seen.update(scores)
            return scores

        problem, after = super().keep(record, revive=revive, score_groups=score_groups)
        # Copies of all scores would cost as much memory as the network.
        scores = {name: score.detach() for name, score in seen.items()}
        cut = sum(score_sum(scores[name][self.masks[name] & ~mask]) for name, mask in after.items())
        self.cuts.append((cut, self.flow(problem, scores)))
        return problem, after


def cut_chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Draw the cut ratio by rounds: a color per compression, a panel per pruner and schedule.

    A point is hollow where the flow ended before the last round.
    """
    import altair as alt

    drawn = _drawn(rows)
    x_axis = log_axis((row["rounds"] for row in drawn), grid=False)
    ratios = [1.0, *(row["cut_ratio"] for row in drawn)]
    title = "largest removed score / total flow"
    base = alt.Chart().encode(
        x=alt.X("rounds:Q", title="rounds", scale=alt.Scale(type="log", nice=False), axis=x_axis),
        y=alt.Y("mean(cut_ratio):Q", title=title, scale=alt.Scale(type="log"), axis=log_axis(ratios)),
        color=alt.Color("compression:O", title="compression ratio", scale=alt.Scale(scheme=RAMP)),
    )
    rule = alt.Chart().mark_rule(strokeDash=[2, 3], color=INK).encode(y=alt.datum(1.0))
    whole = base.mark_point(filled=True).transform_filter("!datum.ended")
    ended = base.mark_point(filled=False, fill="white", opacity=1).transform_filter("datum.ended")
    layered = alt.layer(rule, base.mark_line(), whole, ended).properties(width=WIDTH, height=HEIGHT)
    return titled(panels(layered, drawn), f"{TITLE}: {networks(rows)}", [*lines, *_notes(rows, drawn)])


def _drawn(rows: Sequence[Row]) -> list[Row]:
    """The rows with a ratio, by panel; `ended` where in any seed a round had no flow."""
    ended = {_point(row) for row in rows if row["rounds_with_flow"] < row["rounds"]}
    return [
        {**row, "pruner": f"{row['pruner']}, {row['schedule']}", "ended": _point(row) in ended}
        for row in rows
        if row["cut_ratio"]
    ]


def _point(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("dataset", "model", "pruner", "schedule", "rounds", "compression"))


def _notes(rows: Sequence[Row], drawn: Sequence[Row]) -> list[str]:
    notes = [
        "largest ratio of a pruning's rounds; dotted line: a round removes as much score as the total flow"
    ]
    if any(row["ended"] for row in drawn):
        notes.append("hollow: the flow fell to zero before the last round; rounds without flow do not count")
    if len(drawn) < len(rows):
        notes.append(f"not drawn: {len(rows) - len(drawn)} of {len(rows)} prunings, without any flow to cut")
    return notes
