"""Trainers: what trains a network for a study in another loop than Esper's own.

A trainer is a function in the entry-point group ``esper.trainers``. It is called with the resolved configuration and
plugins of a request and with its options, and returns a `Trained`. `esper_app.api.own_loop` gives it the host, batches
and rates that a run with this configuration has.
"""

import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from attrs import field, frozen

from esper_app.api import Resolved
from esper_core.leyline.errors import EsperError
from esper_runs.result import GROWN, RunEnd
from esper_runs.run_directory import RESULT, create_run_directory, write_atomically
from esper_studies.requests import RunRequest

#: The entry-point group of trainers.
GROUP = "esper.trainers"

#: Where the result of a run names its trainer; the result of Esper's own loop has no such key.
TRAINER = "trainer"


@frozen(kw_only=True)
class Trained:
    """What a trainer has come to.

    Attributes:
        test_loss, test_accuracy: on the test split, measured once; in nats, and 0 to 1.
        validation_loss: after the last epoch, in nats.
        parameters: of the network.
        forward_flops: of one sample's forward pass.
        flops: floating-point operations in all, evaluation and whatever growing took included.
        epochs: how many were trained.
        grown: what has grown when, as JSON can hold it.
        further: what else was measured, by name.
    """

    test_loss: float
    test_accuracy: float | None
    validation_loss: float
    parameters: int
    forward_flops: int
    flops: int
    epochs: int
    grown: tuple[Mapping[str, Any], ...] = ()
    further: Mapping[str, float] = field(factory=dict)


class Trainer(Protocol):
    """What an entry point of the group leads to."""

    def __call__(self, resolved: Resolved, options: Mapping[str, Any]) -> Trained:
        """Train one network."""


def find_trainer(name: str) -> Trainer:
    """Return an installed trainer.

    Raises:
        EsperError: E204 if there is none of that name; E190 if it needs a package that is not installed.
    """
    found = {it.name: it for it in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise EsperError("E204", f'there is no trainer "{name}"', why=f"installed are: {known}", fix="install it")
    try:
        trainer: Trainer = found[name].load()
    except ModuleNotFoundError as error:
        what = f'the trainer "{name}" needs the package "{error.name}", which is not installed'
        raise EsperError("E190", what, why=str(error), fix=f"pip install {error.name}") from error
    return trainer


def trained(request: RunRequest, resolved: Resolved) -> None:
    """Have a request's trainer train, and write the result where a run would write it.

    Raises:
        EsperError: as `find_trainer`, and whatever the trainer raises.
    """
    assert request.trainer is not None
    trainer, config = find_trainer(request.trainer), resolved.configuration.config
    directory = create_run_directory(Path(config.runs), config.name, request.task)
    began = perf_counter()
    found = trainer(resolved, request.trainer_options)
    host = {
        "test_loss": found.test_loss,
        "test_accuracy": found.test_accuracy,
        "validation_loss": found.validation_loss,
        "parameters": found.parameters,
        "forward_flops": found.forward_flops,
        "compute": {"total": found.flops},
        "train_seconds": perf_counter() - began,
        "measure_seconds": 0.0,
        "epochs": found.epochs,
    }
    result = {
        "task": request.task,
        "outcome": RunEnd.COMPLETED.value,
        TRAINER: {
            "name": request.trainer,
            "options": dict(request.trainer_options),
            "grown": [*found.grown],
            "further": dict(found.further),
        },
        "hosts": {GROWN: host},
        "seeds": [],
        "sinks": {},
    }
    write_atomically(directory.path / RESULT, (json.dumps(result, indent=2) + "\n").encode())
