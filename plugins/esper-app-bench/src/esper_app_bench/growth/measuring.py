"""Running the benchmark: learning rates are chosen on validation, then every random seed is measured in all arms."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from esper_app_bench.growth.arms import GROWN, HOST, NEURONS, SAVED, STATIC, Anchor, Arm, Place, Settings
from esper_app_bench.growth.later import ARMS as LATER_ARMS
from esper_app_bench.growth.tasks import BenchTask
from esper_studies import RunFigures, RunRequest, Study, StudyRun, figures_of

if TYPE_CHECKING:
    from esper_app.api import Prospect

#: Where there is nothing to learn, these are enough to ask whether anything comes out.
CONTROL_ARMS = (GROWN, HOST, STATIC, "host-epochs")


@frozen(kw_only=True)
class Cell:
    """A run of the benchmark. `figures` is None if it has failed; it counts as the constant answer then."""

    run: StudyRun
    figures: RunFigures | None


@frozen(kw_only=True)
class Tuning:
    """How an arm's learning rate was chosen.

    Attributes:
        losses: mean validation loss in nats by rate, over the tuning seeds; the constant answer's for runs that failed.
        flops: what one such choice costs: all rates on one random seed, mean over the tuning seeds; None if a run's
            operations are not known.
        cells: the runs, by rate and random seed.
    """

    losses: Mapping[float, float]
    flops: float | None
    cells: Mapping[tuple[float, int], Cell]

    @property
    def rate(self) -> float:
        """The rate with the lowest loss; the lower one of two."""
        return min(self.losses, key=lambda rate: (self.losses[rate], rate))

    @property
    def at_the_edge(self) -> bool:
        """Whether a rate beyond the grid could have been better; where there was no choice, none could."""
        return len(self.losses) > 1 and self.rate in (min(self.losses), max(self.losses))


@frozen(kw_only=True)
class TaskMeasured:
    """What was measured on a task.

    Attributes:
        task: the task.
        arms: its arms, in order.
        constant_loss, constant_accuracy: of the constant answer, on the test split.
        tuning: by arm; without those whose choice is not made yet.
        cells: by arm and random seed; without what is not measured yet.
    """

    task: BenchTask
    arms: tuple[Arm, ...]
    constant_loss: float
    constant_accuracy: float | None
    tuning: Mapping[str, Tuning] = field(factory=dict)
    cells: Mapping[str, Mapping[int, Cell]] = field(factory=dict)

    @property
    def missing(self) -> int:
        """How many cells are not there yet."""
        return len(self.arms) * len(self.task.seeds) - sum(map(len, self.cells.values()))


def measure(study: Study, task: BenchTask, arms: Sequence[Arm], begun: Callable[[str], None]) -> TaskMeasured:
    """Run what is missing of a task, and return all that is there; less, if the study's deadline has come.

    Args:
        study: runs it.
        task: what is measured.
        arms: all arms of the benchmark.
        begun: is told of each part that begins, in words.

    Raises:
        EsperError: what is wrong with a run's configuration or data.
    """
    return _Measuring(study, task, arms, begun).measured()


def _measured_on(task: BenchTask, arm: Arm) -> bool:
    """A saved policy was asked for, so it is measured whatever a task names."""
    if arm.trainer == NEURONS and not task.neurons:
        return False
    if task.control:
        return arm.name in CONTROL_ARMS
    return task.arms is None or arm.name in (*task.arms, SAVED)


class _Measuring:
    def __init__(self, study: Study, task: BenchTask, arms: Sequence[Arm], begun: Callable[[str], None]) -> None:
        self._study, self._task, self._begun = study, task, begun
        self._arms = tuple(arm for arm in (arms if task.old_classes is None else LATER_ARMS) if _measured_on(task, arm))
        self._tuning: dict[str, Tuning] = {}
        self._cells: dict[str, dict[int, Cell]] = {arm.name: {} for arm in self._arms}
        self._known: dict[str, Prospect] = {}
        (self._host,) = self._prospects([{}])
        self._epochs = study.resolve(self._request({})).configuration.config.epochs

    def measured(self) -> TaskMeasured:
        free, anchored = ([arm for arm in self._arms if arm.anchored is wanted] for wanted in (False, True))
        self._begun(f"{self._task.name}: choosing learning rates")
        self._tune(free)
        if GROWN in self._tuning and "host-epochs" in self._tuning:
            self._tune(anchored)
        for seed in self._task.seeds:
            self._begun(f"{self._task.name}: random seed {seed}")
            self._measure(free, seed)
            if seed in self._cells[GROWN] and seed in self._cells["host-epochs"]:
                self._measure(anchored, seed)
        return TaskMeasured(
            task=self._task,
            arms=self._arms,
            constant_loss=self._host.constant_loss,
            constant_accuracy=self._host.constant_accuracy,
            tuning=self._tuning,
            cells=self._cells,
        )

    def _tune(self, arms: Sequence[Arm]) -> None:
        places = [(arm, rate, seed) for arm in arms for rate in self._rates(arm) for seed in self._task.tuning_seeds]
        asked = [self._asked(arm, seed, rate) for arm, rate, seed in places]
        found = dict(zip(places, self._run(asked), strict=True))
        for arm in arms:
            own = {(rate, seed): cell for (it, rate, seed), cell in found.items() if it is arm}
            if all(cell is not None for cell in own.values()):
                self._tuning[arm.name] = self._tuned({place: cell for place, cell in own.items() if cell is not None})

    def _tuned(self, cells: Mapping[tuple[float, int], Cell]) -> Tuning:
        seeds = self._task.tuning_seeds
        rates = dict.fromkeys(rate for rate, _ in cells)
        losses = {rate: fmean(self._validation_loss(cells[rate, it]) for it in seeds) for rate in rates}
        spent = [cell.figures.flops for cell in cells.values() if cell.figures is not None]
        known = [it for it in spent if it is not None]
        flops = sum(known) / len(seeds) if len(known) == len(spent) else None
        return Tuning(losses=losses, flops=flops, cells=cells)

    def _rates(self, arm: Arm) -> Sequence[float]:
        return self._task.rates if arm.tuned else self._task.rates[1:2]

    def _validation_loss(self, cell: Cell) -> float:
        loss = None if cell.figures is None else cell.figures.validation_loss
        return self._host.constant_loss if loss is None or not isfinite(loss) else loss

    def _measure(self, arms: Sequence[Arm], seed: int) -> None:
        ready = [arm for arm in arms if arm.name in self._tuning]
        asked = [self._asked(arm, seed, self._tuning[arm.name].rate) for arm in ready]
        for arm, cell in zip(ready, self._run(asked), strict=True):
            if cell is not None:
                self._cells[arm.name][seed] = cell

    def _run(self, asked: Sequence[RunRequest]) -> list[Cell | None]:
        runs = self._study.run(asked)
        return [None if run is None else Cell(run=run, figures=figures_of(run, whole=True)) for run in runs]

    def _asked(self, arm: Arm, seed: int, rate: float) -> RunRequest:
        place = Place(
            task=self._task,
            epochs=self._epochs,
            anchor=self._anchor(seed) if arm.anchored else None,
            recorded=self._recorded() if arm.anchored else None,
            prospects=self._prospects,
        )
        request = self._request({**arm.settings(place), "seed": seed, "optimizer.lr": rate})
        told = arm.told(place)
        return request if told is None else evolve(request, trainer=arm.trainer, trainer_options=told)

    def _request(self, settings: Settings) -> RunRequest:
        # The task's options of its own host mean nothing to another one.
        of_task = {
            key: it for key, it in self._task.settings.items() if "host.name" not in settings or key[:5] != "host."
        }
        return RunRequest.of(self._task.task, {"twin": "none", **of_task, **settings})

    def _anchor(self, seed: int) -> Anchor | None:
        """The grown run of a seed, beside the bare host of as many epochs; None if one of them has failed."""
        grown, host = self._cell(GROWN, seed), self._cell("host-epochs", seed)
        if grown.figures is None or host.figures is None:
            return None
        seconds = host.figures.seconds / host.figures.epochs
        return Anchor(directory=grown.run.directory, figures=grown.figures, host_seconds=seconds)

    def _recorded(self) -> Path | None:
        cell = self._cell(GROWN, self._task.tuning_seeds[0])
        return cell.run.directory if cell.figures is not None else None

    def _cell(self, arm: str, seed: int) -> Cell:
        tuning = self._tuning[arm]
        return self._cells[arm][seed] if seed in self._cells[arm] else tuning.cells[tuning.rate, seed]

    def _prospects(self, hosts: Iterable[Settings]) -> "tuple[Prospect, ...]":
        # Imported here: it needs torch.
        from esper_app.api import prospects

        keys: dict[str, Any] = {repr(sorted(host.items())): host for host in hosts}
        new = [key for key in keys if key not in self._known]
        resolved = [self._study.resolve(self._request({"policy.name": "null", **keys[key]})) for key in new]
        if resolved:
            found = prospects([it.configuration for it in resolved], resolved[0].plugins)
            self._known |= dict(zip(new, found, strict=True))
        return tuple(self._known[key] for key in keys)
