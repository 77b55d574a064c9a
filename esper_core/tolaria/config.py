"""How a host is trained: its optimizer and learning-rate schedule. Imports no torch."""

from collections.abc import Mapping
from enum import StrEnum
from math import inf

from attrs import Factory, field, frozen, validators


class OptimizerName(StrEnum):
    """The optimizers on offer."""

    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"


class Schedule(StrEnum):
    """How the learning rate goes on after the warm-up.

    ``COSINE``: down to 0 along a cosine. ``CONSTANT``: unchanged. ``STABLE``: unchanged, then down to 0 in a straight
    line over the last share of the run, so that what grows in between meets a host that is not annealing yet
    (warm-up, stable, decay: Hu et al. 2024, MiniCPM, section 4).
    """

    COSINE = "cosine"
    CONSTANT = "constant"
    STABLE = "stable"


class SeedSchedule(StrEnum):
    """What becomes of the learning rates when a seed germinates.

    ``KEEP``: the seed follows the host's schedule as it is, so that a late seed hardly moves.
    ``RESTART_SEED``: the seed begins a cosine of its own, from its germination to the end of the run.
    ``RESTART_ALL``: the host restarts its cosine as well, over what is left of the run, and the seeds follow it. The
    twin, which never grows, keeps its schedule: a comparison with it shows the seed and the restart together.
    """

    KEEP = "keep"
    RESTART_SEED = "restart-seed"
    RESTART_ALL = "restart-all"


#: What suits each optimizer on small hosts where nothing else is known.
_LR: Mapping[OptimizerName, float] = {OptimizerName.SGD: 0.1, OptimizerName.ADAM: 0.01, OptimizerName.ADAMW: 0.01}
_WEIGHT_DECAY: Mapping[OptimizerName, float] = {
    OptimizerName.SGD: 5e-4,
    OptimizerName.ADAM: 0.0,
    OptimizerName.ADAMW: 0.01,
}
_MOMENTUM: Mapping[OptimizerName, float] = {OptimizerName.SGD: 0.9}
_BETAS = (0.9, 0.999)
_DECAY_SHARE = 0.2

_NUMBER = validators.instance_of((int, float))
_NOT_NEGATIVE = validators.and_(_NUMBER, validators.ge(0.0), validators.lt(inf))
_POSITIVE = validators.and_(_NUMBER, validators.gt(0.0), validators.lt(inf))
_DECAY_RATE = validators.and_(_NUMBER, validators.ge(0.0), validators.lt(1.0))


@frozen(kw_only=True)
class OptimizerConfig:
    """An optimizer and its schedule. What the named optimizer does not have is refused, never ignored.

    Attributes:
        name: ``sgd``, ``adam`` or ``adamw``.
        lr: peak learning rate; by default 0.1 for sgd, 0.01 for adam and adamw.
        momentum: of sgd; 0.9 by default.
        nesterov: Nesterov momentum, of sgd; on by default where there is momentum.
        weight_decay: by default 5e-4 for sgd, 0.01 for adamw, 0 for adam.
        decay_vectors: weight decay pulls at the host's norms, biases and gains as well.
        betas: decay rates of the first and second moment, of adam and adamw.
        warmup_epochs: the learning rate rises linearly over this many epochs.
        schedule: ``cosine`` (to 0 at the last epoch), ``constant``, or ``stable`` (constant, then to 0 over the last
            share of the run).
        decay_share: that share, above 0 and at most 1; with ``stable`` only.
        seed_schedule: what a germination does to the schedule: ``restart-seed`` gives the seed a cosine of its own over
            the epochs that remain, ``keep`` lets it follow the host's, ``restart-all`` restarts the host's as well.
            Without a cosine (``constant``, ``stable``) there is none to restart: seeds follow the host's schedule.
        seed_lr_multiplier: a seed's learning rate relative to its host's at the same point of the schedule.
        clip_norm: greatest norm of the gradient, for the host and for each seed on its own; None: no clipping.
    """

    name: OptimizerName = field(default=OptimizerName.SGD, converter=OptimizerName)
    lr: float = field(default=Factory(lambda self: _LR[self.name], takes_self=True), validator=_POSITIVE)
    momentum: float = field(
        default=Factory(lambda self: _MOMENTUM.get(self.name, 0.0), takes_self=True), validator=_DECAY_RATE
    )
    nesterov: bool = field(
        default=Factory(lambda self: self.momentum > 0.0, takes_self=True), validator=validators.instance_of(bool)
    )
    weight_decay: float = field(
        default=Factory(lambda self: _WEIGHT_DECAY[self.name], takes_self=True), validator=_NOT_NEGATIVE
    )
    decay_vectors: bool = field(default=False, validator=validators.instance_of(bool))
    betas: tuple[float, float] = field(default=_BETAS, converter=tuple, validator=validators.deep_iterable(_DECAY_RATE))
    warmup_epochs: int = field(default=1, validator=[validators.instance_of(int), validators.ge(0)])
    schedule: Schedule = field(default=Schedule.COSINE, converter=Schedule)
    decay_share: float = field(default=_DECAY_SHARE, validator=[_POSITIVE, validators.le(1.0)])
    seed_schedule: SeedSchedule = field(default=SeedSchedule.RESTART_SEED, converter=SeedSchedule)
    seed_lr_multiplier: float = field(default=1.0, validator=_POSITIVE)
    clip_norm: float | None = field(default=None, validator=validators.optional(_POSITIVE))

    def __attrs_post_init__(self) -> None:
        sgd = self.name is OptimizerName.SGD
        if self.momentum and not sgd:
            raise ValueError(f"'momentum' belongs to sgd, {self.name} has betas")
        if self.nesterov and not self.momentum:
            raise ValueError("'nesterov' needs a momentum above 0")
        if self.decay_share != _DECAY_SHARE and self.schedule is not Schedule.STABLE:
            raise ValueError(f"'decay_share' belongs to the schedule stable, and this is {self.schedule}")
        if sgd and self.betas != _BETAS:
            raise ValueError("'betas' belong to adam and adamw, sgd has a momentum")
