"""How often gates err: false passes of useless and harmful seeds, and the power for useful ones, per episode.

In an episode a gate is asked every epoch on the same validation samples, and must pass as often in a row as it wants.
The per-sample loss differences are drawn with a given true mean and shapes like those of real seeds on scikit-learn's
digits (kurtosis 20 to 60, skewness -5 to 3, correlation from epoch to epoch 0.6 to 0.98): each sample has a hardness of
its own (log-normal), and a value that drifts from epoch to epoch. The verdicts are those of the real gates, and Kasmina
counts them.

    python tests/benchmarks/gate_errors.py [--episodes 4000] [--samples 359]
"""

import argparse
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import entry_points
from itertools import product
from pkgutil import resolve_name
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from esper_core.api import Gate, GateLevel, PairedDifference, SeedEvidence, Stage
from esper_core.kasmina.gate_tracker import GateTracker

Floats = NDArray[np.float64]

#: False passes per episode that the standard and the strict set stay within.
LEVEL = 0.05
#: Standard errors of real paired ablations on 359 samples are 0.006 to 0.013 nats.
USUAL_ERRORS = (0.006, 0.012)
#: An error against which every margin is nothing: what the confidence bounds are worth alone.
HUGE_ERROR = 1.0
#: How often a gate is asked at most after the ramp: G3 from its last epoch to the timeout, G5 up to the timeout.
LOOKS = {GateLevel.G3: 6, GateLevel.G5: 8}
STAGES = {GateLevel.G3: Stage.BLENDING, GateLevel.G5: Stage.PROBATIONARY}


@frozen(kw_only=True)
class Shape:
    """A shape of per-sample differences: how unequal the samples are, and to which side the distribution leans."""

    name: str
    tail: float
    lean: float


SHAPES = (
    Shape(name="normal", tail=0.0, lean=0.0),
    Shape(name="heavy tails", tail=0.75, lean=0.0),
    Shape(name="heavy, left-skewed", tail=0.75, lean=-0.35),
    Shape(name="heavy, right-skewed", tail=0.75, lean=0.35),
)
DRIFTS = (0.5, 0.8, 0.95)


@frozen(kw_only=True)
class Episodes:
    """Sample means and their standard errors, (episodes, epochs), of differences with mean 0 and variance 1."""

    means: Floats
    errors: Floats
    samples: int


@cache
def draw(shape: Shape, drift: float, *, episodes: int, epochs: int, samples: int, seed: int = 0) -> Episodes:
    """Draw episodes; `drift` is the correlation of a sample's value from one epoch to the next."""
    rng = np.random.default_rng(seed)
    hardness = np.exp(shape.tail * rng.standard_normal((episodes, samples)) - shape.tail**2)
    value = rng.standard_normal((episodes, samples))
    means, errors = np.empty((episodes, epochs)), np.empty((episodes, epochs))
    for epoch in range(epochs):
        if epoch:
            value = drift * value + np.sqrt(1 - drift**2) * rng.standard_normal((episodes, samples))
        leaning = (value + shape.lean * (value**2 - 1)) / np.sqrt(1 + 2 * shape.lean**2)
        difference = hardness * leaning
        means[:, epoch] = difference.mean(axis=1)
        errors[:, epoch] = difference.std(axis=1, ddof=1) / np.sqrt(samples)
    return Episodes(means=means, errors=errors, samples=samples)


def evidence(episodes: Episodes, row: int, error: float, contribution: float, stage: Stage) -> Iterator[SeedEvidence]:
    """One episode's evidence: a settled seed of this true contribution, in nats, measured with this standard error."""
    scale = error * np.sqrt(episodes.samples)
    for epoch in range(episodes.means.shape[1]):
        measured = PairedDifference(
            mean=contribution + scale * float(episodes.means[row, epoch]),
            standard_error=scale * float(episodes.errors[row, epoch]),
            count=episodes.samples,
        )
        yield SeedEvidence(
            slot="a",
            seed_id="a-0",
            blueprint="simulated",
            stage=stage,
            epochs_in_stage=epoch,
            age_epochs=epoch,
            alpha=1.0,
            finite=True,
            contribution=measured,
            ramp_done=True,
            settled_epochs=3 + epoch,
        )


def rate(level: GateLevel, gate: Gate, episodes: Episodes, error: float, contribution: float) -> dict[str, float]:
    """Share of the episodes in which the gate passed often enough in a row, and in which it called the seed harmful."""
    passed = harmful = 0
    for row in range(len(episodes.means)):
        keeper = GateTracker({level: gate})
        for seed in evidence(episodes, row, error, contribution, STAGES[level]):
            result = keeper.judge(seed)
            standing = keeper.streak("a", STAGES[level])
            if result is not None and result.harmful:
                harmful += 1
                break
            if standing is not None and standing.passed:
                passed += 1
                break
    return {"passed": passed / len(episodes.means), "harmful": harmful / len(episodes.means)}


def build(gate_set: str, level: GateLevel, **options: Any) -> Gate:
    """Build one gate of the bundled sets."""
    (entry,) = entry_points(group="esper", name="gates-standard")
    (spec,) = [s for s in entry.load().esper_gates() if (s.gate_set, s.level) == (gate_set, level)]
    gate: Gate = resolve_name(spec.factory)(resolve_name(spec.config)(**options))
    return gate


def conditions(level: GateLevel, episodes: int, samples: int) -> Iterator[tuple[Shape, float, Episodes]]:
    """Every shape with every drift."""
    for index, (shape, drift) in enumerate(product(SHAPES, DRIFTS)):
        yield (
            shape,
            drift,
            draw(shape, drift, episodes=episodes, epochs=LOOKS[level], samples=samples, seed=index),
        )


def print_table(level: GateLevel, columns: dict[str, Callable[[Episodes], float]], episodes: int, samples: int) -> None:
    """Print one row for every condition and the range of each column."""
    print(f"{'per-sample differences':22} {'drift':>5}  " + "  ".join(f"{name:>14}" for name in columns))
    found: dict[str, list[float]] = {name: [] for name in columns}
    for shape, drift, drawn in conditions(level, episodes, samples):
        row = {name: column(drawn) for name, column in columns.items()}
        for name, value in row.items():
            found[name].append(value)
        print(f"{shape.name:22} {drift:5.2f}  " + "  ".join(f"{row[name]:14.3f}" for name in columns), flush=True)
    ranges = "  ".join(f"{min(values):6.3f}-{max(values):.3f}".rjust(14) for values in found.values())
    print(f"{'smallest-largest':22} {'':5}  {ranges}\n")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=4000)
    parser.add_argument("--samples", type=int, default=359)
    arguments = parser.parse_args()
    for gate_set in ("standard", "strict", "permissive"):
        for level in (GateLevel.G5, GateLevel.G3):
            gate = build(gate_set, level)
            print(f"{gate_set} {level}, {gate.consecutive_passes} passes in a row, {LOOKS[level]} epochs")
            print_table(level, COLUMNS[level](gate), arguments.episodes, arguments.samples)


def _g5_columns(gate: Gate) -> dict[str, Callable[[Episodes], float]]:
    def column(contribution: float, error: float) -> Callable[[Episodes], float]:
        return lambda drawn: rate(GateLevel.G5, gate, drawn, error, contribution)["passed"]

    usual = {f"{mu:g} se {error:g}": column(mu, error) for mu in (0.0, 0.03, 0.1) for error in USUAL_ERRORS}
    return {"0 se huge": column(0.0, HUGE_ERROR), **usual}


def _g3_columns(gate: Gate) -> dict[str, Callable[[Episodes], float]]:
    def column(contribution: float, error: float, outcome: str = "passed") -> Callable[[Episodes], float]:
        return lambda drawn: rate(GateLevel.G3, gate, drawn, error, contribution)[outcome]

    margin = gate.config.margin_nats  # type: ignore[attr-defined]
    return {
        "harm se 0.012": column(-margin, 0.012),
        "harm se huge": column(-margin, HUGE_ERROR),
        "0 se 0.006": column(0.0, 0.006),
        "0 se 0.012": column(0.0, 0.012),
        "0 harm huge": column(0.0, HUGE_ERROR, "harmful"),
    }


COLUMNS = {GateLevel.G5: _g5_columns, GateLevel.G3: _g3_columns}

if __name__ == "__main__":
    main()
