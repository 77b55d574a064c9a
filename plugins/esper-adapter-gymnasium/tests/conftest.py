"""Small tables that are made up: what is tested is what is done with a table, not what is in one."""

from itertools import product

import numpy as np
import pytest

from esper_adapter_gymnasium.table import GrowthTable


def made_up(slots=3, blueprints=2, epochs=14, seed=0, runs=1, worth=0.4):
    """A table in which some blueprints help, some do harm, and some do nothing."""
    random = np.random.default_rng(seed)
    count = (blueprints + 1) ** slots
    bare = 2.3 * np.exp(-np.arange(epochs) / 8)
    effect = random.normal(0.05, worth / 3, (slots, blueprints + 1))
    effect[:, 0] = 0.0
    topologies = [[n // (blueprints + 1) ** slot % (blueprints + 1) for slot in range(slots)] for n in range(count)]
    added = np.array([sum(effect[slot, it] for slot, it in enumerate(topology)) for topology in topologies])
    loss = bare - added[:, None] * np.linspace(0.2, 1.0, epochs) + random.normal(0, 0.01, (runs, count, epochs))
    contribution = np.zeros((runs, count, epochs, slots))
    for number, slot in product(range(count), range(slots)):
        if topologies[number][slot]:
            level = 3 * effect[slot, topologies[number][slot]]
            contribution[:, number, :, slot] = level + random.normal(0, 0.02, (runs, epochs))
    sizes = np.concatenate([[0], random.integers(5, 200, blueprints)])
    return GrowthTable(
        slots=tuple(f"block{slot}" for slot in range(slots)),
        blueprints=tuple("abcdef"[:blueprints]),
        options=("{}",) * blueprints,
        seeds=tuple(range(runs)),
        loss=loss,
        accuracy=np.clip(np.exp(-loss), 0, 1),
        train_loss=loss * 0.9,
        train_accuracy=np.clip(np.exp(-loss * 0.9), 0, 1),
        contribution=contribution,
        contribution_error=np.where(contribution != 0, 0.015, 0.0),
        parameters=np.tile(sizes, (slots, 1)),
        flops=np.tile(sizes * 30, (slots, 1)),
        host_parameters=400,
        host_flops=10_000,
        widths=(4,) * slots,
        samples=359,
        random_guess_loss=float(np.log(10)),
    )


@pytest.fixture
def table():
    return made_up()


@pytest.fixture
def tables():
    return made_up
