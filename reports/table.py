"""The table of several systems on the same clips: scores with bootstrap intervals, differences and shares."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import Estimate, estimate
from evaluation.metric import Metric
from evaluation.scores import TITLES

COMPARED = ("cider_d", "verb_recall")


@dataclass(frozen=True)
class Spread:
    """A number from each training run, one or more."""

    values: tuple[float, ...]

    def _shown(self) -> tuple[str, str]:
        mean, *ends = (
            f"{number:.3f}" if number == 0 or abs(number) >= 0.01 else f"{number:.2g}"
            for number in (float(np.mean(self.values)), min(self.values), max(self.values))
        )
        return mean, " to ".join(ends) if len(self.values) > 1 else ""

    def __str__(self) -> str:
        mean, ends = self._shown()
        return f"{mean} ({ends})" if ends else mean

    def narrow(self) -> str:
        """On two lines, so that a narrow column holds it."""
        return "\n".join(filter(None, self._shown()))


Cell = Estimate | Spread | str
Line = dict[str, Cell]


def make_lines(
    systems: Mapping[str, int],
    draws: Mapping[str, np.ndarray],
    metrics: Mapping[str, Metric],
    weights: np.ndarray,
    against: str | None = None,
    of: str | None = None,
) -> list[Line]:
    """One line for each row: the mean score of its systems, with an interval and the scores of its training runs.

    In each bootstrap sample the clips are drawn once for all rows. A row of training runs also draws its runs, each
    row for itself (two levels); a row of shuffles or guesses averages all of its systems in every sample.

    Args:
        systems: for each row the number of its systems, in the order of the metrics' R systems.
        draws: (B, K) of `training_draws`, for the rows whose K systems are training runs of one method.
        metrics: with statistics (R, N, S).
        weights: (B, N) of `bootstrap_weights`.
        against: the row that differences are taken from, paired over the clips of each sample.
        of: the row whose SPIDEr every other SPIDEr is divided by, paired likewise.
    """
    ends = np.cumsum(list(systems.values()))
    parts = {name: slice(end - number, end) for (name, number), end in zip(systems.items(), ends, strict=True)}
    values = {key: metric.scores for key, metric in metrics.items()}  # (R,)
    samples = {key: metric.resampled(weights) for key, metric in metrics.items()}  # (B, R)

    def value(key: str, name: str) -> float:
        return float(values[key][parts[name]].mean())

    def resampled(key: str, name: str) -> np.ndarray:
        found = samples[key][:, parts[name]]  # (B, K)
        drawn = np.take_along_axis(found, draws[name], 1) if name in draws else found
        return np.asarray(drawn.mean(1))  # (B,)

    compared = [key for key in COMPARED if key in metrics]
    several = any(draw.shape[1] > 1 for draw in draws.values())
    lines: list[Line] = []
    for name, part in parts.items():
        trainings = str(systems[name]) if name in draws else "-"
        line: Line = {"row": name, "N": str(weights.shape[1]), "trainings": trainings}
        for key in metrics:
            line[key] = estimate(value(key, name), resampled(key, name))
        if of is not None and "spider" in metrics and value("spider", of) > 0:
            whole = resampled("spider", of)
            share = np.divide(resampled("spider", name), whole, out=np.full_like(whole, np.nan), where=whole > 0)
            line["spider_share"] = estimate(value("spider", name) / value("spider", of), share) if name != of else "-"
        if several:
            for key in compared:
                line[f"{key}_trainings"] = Spread(tuple(values[key][part].tolist())) if name in draws else "-"
        if against is not None:
            for key in compared:
                gap = value(key, name) - value(key, against)
                paired = resampled(key, name) - resampled(key, against)
                line[f"{key}_difference"] = estimate(gap, paired) if name != against else "-"
        lines.append(line)
    return lines


def titles(against: str | None, of: str | None = None) -> dict[str, str]:
    """The headings of the columns."""
    found = TITLES | {"trainings": "training runs", "spider_share": f"share of {of}'s SPIDEr"}
    for key in COMPARED:
        found[f"{key}_trainings"] = f"{TITLES[key]} of the training runs"
        found[f"{key}_difference"] = f"{TITLES[key]} minus {against}'s"
    return found
