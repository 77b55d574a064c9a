"""What the benchmark is made on: tasks with their learning rates, random seeds and wider hosts, by budget."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

#: Random seeds that learning rates are chosen on; nothing else is measured with them.
TUNING_SEEDS = (100, 101)

#: Widths of hosts are multiplied by these; what rounds to the same widths is one host.
_FACTORS = tuple(1 + step / 8 for step in range(1, 33))


@frozen(kw_only=True)
class BenchTask:
    """One task of the benchmark.

    Attributes:
        name: what it is called there.
        task: the task's name.
        settings: of each of its runs, by dotted key.
        rates: the three learning rates that every arm chooses from.
        seeds: random seeds that are measured; every arm has the same ones.
        tuning_seeds: those that choose the learning rates.
        wider: yields settings of wider and wider hosts.
        control: its labels are drawn at random, so that there is nothing to learn: no comparison may come out.
        neurons: the package gromo can widen its host; see `esper_app_bench.neurons.network`.
        arms: names of the arms that are measured on it; None: all that its data and its host allow.
        old_classes: how many classes, the first ones, are learned before the others arrive, which are learned without
            them; it has arms of its own. None: all classes are there from the beginning.
    """

    name: str
    task: str
    settings: Mapping[str, Any] = field(factory=dict)
    rates: tuple[float, float, float]
    seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...] = TUNING_SEEDS
    wider: Callable[[], Iterator[Mapping[str, Any]]]
    control: bool = False
    neurons: bool = False
    arms: tuple[str, ...] | None = None
    old_classes: int | None = None

    @property
    def tested(self) -> bool:
        """Its primary comparisons are tested, and it is pooled: neither a control nor there for a question apart."""
        return not self.control and not self.neurons and self.old_classes is None


def wider_cnn(widths: Sequence[int]) -> Iterator[Mapping[str, Any]]:
    """Yield settings of the host `cnn` with more channels in the same proportions; even, for its two groups."""
    found = [tuple(2 * round(width * factor / 2) for width in widths) for factor in _FACTORS]
    for wider in dict.fromkeys(found):
        if wider != tuple(widths):
            yield {"host.widths": list(wider)}


def wider_transformer(width: int, heads: int) -> Iterator[Mapping[str, Any]]:
    """Yield settings of the host `transformer` with more features, in as many heads."""
    found = [heads * round(width * factor / heads) for factor in _FACTORS]
    for wider in dict.fromkeys(found):
        if wider != width:
            yield {"host.width": wider}


_SGD_RATES = (0.03, 0.1, 0.3)

#: Of the budget `quick`: growing, a policy that refuses, and the bare and wider hosts that they are held against.
_QUICK_ARMS = (
    "host-epochs",
    "heuristic",
    "compute",
    "host-flops",
    "static",
    "wide-parameters",
    "wide-flops",
)


def _digits(seeds: int, **settings: Any) -> BenchTask:
    return BenchTask(
        name="digits",
        task="digits",
        settings=settings,
        rates=_SGD_RATES,
        seeds=tuple(range(seeds)),
        wider=lambda: wider_cnn((4, 4)),
    )


def _digits_flat(seeds: int, **settings: Any) -> BenchTask:
    """Digits, with a host that keeps the resolution and has one group: what gromo can widen."""
    flat = {"host.pool": 0, "host.groups": 1}
    return evolve(_digits(seeds, **flat, **settings), name="digits-flat", neurons=True)


def _digits_later(seeds: int, **settings: Any) -> BenchTask:
    """Digits of which 5 to 9 arrive when 0 to 4 have been learned."""
    return evolve(_digits(seeds, **settings), name="digits-later", old_classes=5)


def _teacher(seeds: int, **settings: Any) -> BenchTask:
    return BenchTask(
        name="teacher",
        task="teacher",
        settings=settings,
        rates=_SGD_RATES,
        seeds=tuple(range(seeds)),
        wider=lambda: wider_cnn((4, 8)),
    )


def _random_labels(seeds: int, **settings: Any) -> BenchTask:
    return BenchTask(
        name="random-labels",
        task="teacher",
        settings={"task.label_noise": 1.0, **settings},
        rates=_SGD_RATES,
        seeds=tuple(range(seeds)),
        wider=lambda: wider_cnn((4, 8)),
        control=True,
    )


def _fashion_mnist(seeds: int, **settings: Any) -> BenchTask:
    return BenchTask(
        name="fashion-mnist",
        task="fashion-mnist",
        settings=settings,
        rates=_SGD_RATES,
        seeds=tuple(range(seeds)),
        wider=lambda: wider_cnn((8, 16)),
    )


def _text(seeds: int, **settings: Any) -> BenchTask:
    return BenchTask(
        name="text",
        task="text",
        settings=settings,
        rates=(1.5e-3, 5e-3, 1.5e-2),
        seeds=tuple(range(seeds)),
        wider=lambda: wider_transformer(32, 2),
    )


def _smoke() -> tuple[BenchTask, ...]:
    small = {"epochs": 6, "task.train_samples": 500, "task.validation_samples": 200, "task.test_samples": 300}
    return tuple(
        evolve(task, tuning_seeds=TUNING_SEEDS[:1])
        for task in (
            _digits(2, epochs=8),
            _digits_flat(2, epochs=6),
            _random_labels(2, **small),
            _digits_later(2, epochs=6),
        )
    )


#: The tasks of each budget. ``smoke`` shows that all of it works, and nothing else.
BUDGETS: Mapping[str, Callable[[], tuple[BenchTask, ...]]] = {
    "smoke": _smoke,
    "quick": lambda: (evolve(_digits(10), arms=_QUICK_ARMS), _random_labels(6, epochs=15)),
    "full": lambda: (
        _digits(10),
        _digits_flat(10),
        _random_labels(10),
        _teacher(10),
        _digits_later(10),
        _fashion_mnist(8),
        _text(8),
    ),
}
