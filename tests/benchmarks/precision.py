"""What mixed precision and a compiled trunk cost or save: a step of training, beside one in float32.

``python tests/benchmarks/precision.py --rounds 20`` takes all ways in turn, in one process with one thread, and prints
the CPU time of a step relative to float32 within the same round: the median with the quartiles. ``--inductor``
compiles as well, which takes a minute before the first figure.
"""

import argparse
from collections.abc import Callable
from statistics import quantiles
from time import process_time

import torch
from torch.nn.functional import cross_entropy

from esper_app.configuration.training import TrainingConfig
from esper_app.execution.numerics import RunNumerics
from esper_core.api import DataShape, TaskKind
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_host_cnn.cnn import build
from esper_host_cnn.config import CnnConfig

#: Name, widths, input, batch: the host of the task digits, and a larger one.
HOSTS = (
    ("digits: 8, 16; 64 x 1 x 8 x 8", (8, 16), (1, 8, 8), 64),
    ("larger: 32, 64, 128; 64 x 3 x 32 x 32", (32, 64, 128), (3, 32, 32), 64),
)
#: Calls in a row, so that a round takes long enough for the clock.
STEPS = {8: 40, 32: 2}


def step(widths: tuple[int, ...], shape: tuple[int, ...], batch: int, config: TrainingConfig) -> Callable[[], None]:
    """Return a function that trains a new host for one step."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(batch, *shape), torch.randint(0, 10, (batch,))
    host = build(CnnConfig(widths=widths), DataShape(kind=TaskKind.IMAGES, input_shape=shape, outputs=10))
    model = prepare_root(host.module)
    sites = confirm_sites(model, host.sites, lambda model: model(inputs[:2]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    slot_set, numerics = SlotSet(model, sites, optimizer), RunNumerics(config, inputs)
    numerics.prepare(slot_set)
    model.train()

    def run() -> None:
        loss = cross_entropy(numerics.forward(slot_set, inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        numerics.backward(loss)
        numerics.step(optimizer)

    return run


def timed(run: Callable[[], None], calls: int) -> float:
    """Return the CPU time of some calls."""
    began = process_time()
    for _ in range(calls):
        run()
    return process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--inductor", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways = {"fp32": TrainingConfig(), "bf16": TrainingConfig(precision="bf16")}
    if options.inductor:
        ways |= {
            "fp32, compiled": TrainingConfig(compile="trunk"),
            "bf16, compiled": TrainingConfig(precision="bf16", compile="trunk"),
        }
    print(torch.backends.cpu.get_cpu_capability())
    for name, widths, shape, batch in HOSTS:
        calls = STEPS[widths[0]]
        runs = {way: step(widths, shape, batch, config) for way, config in ways.items()}
        for run in runs.values():
            timed(run, 2)
        ratios: dict[str, list[float]] = {way: [] for way in runs}
        for _ in range(options.rounds):
            times = {way: timed(run, calls) for way, run in runs.items()}
            for way, seconds in times.items():
                ratios[way].append(seconds / times["fp32"])
        for way, found in ratios.items():
            low, median, high = quantiles(found, n=4)
            print(f"| {name} | {way} | {median:.2f} ({low:.2f} to {high:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
