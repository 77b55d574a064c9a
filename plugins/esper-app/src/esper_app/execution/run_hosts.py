"""The hosts of a run: what each is called, from which seed it comes, and which twin is beside it."""

from typing import TYPE_CHECKING

from attrs import frozen

from esper_app.configuration.config import RunConfig
from esper_core.leyline.errors import EsperError
from esper_runs.result import GROWN, TWIN

if TYPE_CHECKING:
    from esper_app.execution.assembly import Assembly


@frozen(kw_only=True)
class RunHost:
    """One host that may grow.

    Attributes:
        name: its name in the run.
        seed: the root of its random streams.
        device: where its tensors live.
        twin: the name of its twin; None without one.
    """

    name: str
    seed: int
    device: str
    twin: str | None


def refuse_compute_control(assembly: "Assembly", where: str) -> None:
    """Check that no control of equal compute is asked for where none is trained. Raises EsperError E202."""
    if assembly.config.twin.equal_compute:
        what = f'"twin" is "{assembly.config.twin}", and there is no control of equal compute where {where}'
        raise EsperError("E202", what, where="twin", fix="--set twin=epochs, or --set twin=none")


def run_hosts(config: RunConfig) -> tuple[RunHost, ...]:
    """Return the hosts of a run, in order. Where there are several, they and their twins are numbered from 1."""
    devices = config.devices or (config.device,)
    numbered = [f"-{index + 1}" for index in range(config.hosts)] if config.hosts > 1 else [""]
    return tuple(
        RunHost(
            name=f"{GROWN}{number}",
            seed=config.seed + index,
            device=devices[index % len(devices)],
            twin=f"{TWIN}{number}" if config.twin.equal_epochs else None,
        )
        for index, number in enumerate(numbered)
    )
