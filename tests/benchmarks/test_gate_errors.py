import importlib.util
import sys
from math import sqrt
from pathlib import Path

import pytest

from esper_core.api import GateLevel


def load_benchmark():
    path = Path(__file__).with_name("gate_errors.py")
    spec = importlib.util.spec_from_file_location("gate_errors", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bench = load_benchmark()

EPISODES = 1500
SAMPLES = 359
#: A rate at the level shows more than this in one of a thousand simulations (normal approximation).
WORST = bench.LEVEL + 3.1 * sqrt(bench.LEVEL * (1 - bench.LEVEL) / EPISODES)

pytestmark = pytest.mark.slow


def rates(level, gate, error, contribution, episodes=EPISODES):
    return {
        (shape.name, drift): bench.rate(level, gate, drawn, error, contribution)
        for shape, drift, drawn in bench.conditions(level, episodes, SAMPLES)
    }


@pytest.mark.parametrize("gate_set", ["standard", "strict"])
def test_a_useless_seed_is_fossilized_in_at_most_one_episode_of_twenty(gate_set):
    gate = bench.build(gate_set, GateLevel.G5)

    found = rates(GateLevel.G5, gate, bench.HUGE_ERROR, 0.0)

    assert max(rate["passed"] for rate in found.values()) <= WORST, found


@pytest.mark.parametrize("gate_set", ["standard", "strict"])
def test_a_seed_that_costs_the_margin_passes_its_ramp_in_at_most_one_episode_of_twenty(gate_set):
    gate = bench.build(gate_set, GateLevel.G3)

    found = rates(GateLevel.G3, gate, bench.HUGE_ERROR, -gate.config.margin_nats)

    assert max(rate["passed"] for rate in found.values()) <= WORST, found


@pytest.mark.parametrize("weaker", [{"sign_confidence": 0.95}, {"consecutive_passes": 1}])
def test_neither_passes_in_a_row_nor_the_higher_confidence_would_do_alone(weaker):
    gate = bench.build("standard", GateLevel.G5, **weaker)

    found = rates(GateLevel.G5, gate, bench.HUGE_ERROR, 0.0)

    assert max(rate["passed"] for rate in found.values()) > WORST, found


@pytest.mark.parametrize(
    ("contribution", "error", "least"), [(0.1, 0.012, 0.99), (0.03, 0.006, 0.95), (0.03, 0.012, 0.5)]
)
def test_a_useful_seed_is_found(contribution, error, least):
    gate = bench.build("standard", GateLevel.G5)

    found = rates(GateLevel.G5, gate, error, contribution, episodes=300)

    assert min(rate["passed"] for rate in found.values()) >= least, found


def test_a_neutral_seed_passes_its_ramp_and_is_not_called_harmful():
    gate = bench.build("standard", GateLevel.G3)

    found = rates(GateLevel.G3, gate, 0.012, 0.0, episodes=300)

    assert min(rate["passed"] for rate in found.values()) >= 0.95, found
    assert max(rate["harmful"] for rate in found.values()) == 0.0, found
