"""How seeds live: every duration and switch of the lifecycle. Imports no torch."""

from attrs import field, frozen, validators

from esper_core.leyline.stages import Incubation

#: The default of `update_limit`.
UPDATE_LIMIT = 2.0

_EPOCHS = validators.and_(validators.instance_of(int), validators.ge(0))
_SOME_EPOCHS = validators.and_(validators.instance_of(int), validators.ge(1))


@frozen(kw_only=True)
class LifecycleConfig:
    """Durations in host epochs, and how a seed touches the host.

    Attributes:
        incubation: how a seed trains before it may touch the host's activations: ``ste`` (straight-through: no pass
            more, and nothing tells the seed of its size), ``probe`` (a second pass in each step, with the seed at
            `probe_alpha`: it feels what it does to the loss) or ``none`` (the ramp starts at birth; with
            `ramp_epochs` 0 as well the seed acts in full at once, the plainest way to grow).
        incubation_epochs: least number of epochs in TRAINING before G2 is asked.
        ramp_epochs: length of alpha's rise from 0 to 1; 0 means alpha 1 at once.
        training_timeout_epochs: a seed that G2 has not passed by then is culled.
        blending_timeout_epochs: epochs after the ramp by which G3 must have passed.
        probation_timeout_epochs: epochs in PROBATIONARY by which the seed must be fossilized.
        embargo_epochs: a slot rests this long after a cull.
        probe_alpha: the small alpha at which a TRAINING seed is tried on validation data, and trained with the
            incubation ``probe``.
        update_limit: a seed's update is bounded to this many times the activation, in root mean square, for each image,
            position or vector, as long as its fate is open. Beyond the limit it falls again, and what is not finite is
            left out. Esper's own blueprints never get beyond 1.
        bounded_timeout_epochs: a seed is culled when its update has been bounded for this many epochs in a row.
        isolate: BLENDING and PROBATIONARY seeds see the host's activations detached. None: yes, but not where the
            site is causal text.
    """

    incubation: Incubation = field(default=Incubation.STE, converter=Incubation)
    incubation_epochs: int = field(default=1, validator=_SOME_EPOCHS)
    ramp_epochs: int = field(default=3, validator=_EPOCHS)
    training_timeout_epochs: int = field(default=5, validator=_SOME_EPOCHS)
    blending_timeout_epochs: int = field(default=5, validator=_SOME_EPOCHS)
    probation_timeout_epochs: int = field(default=8, validator=_SOME_EPOCHS)
    embargo_epochs: int = field(default=3, validator=_EPOCHS)
    probe_alpha: float = field(default=0.1, validator=[validators.gt(0.0), validators.le(1.0)])
    update_limit: float = field(default=UPDATE_LIMIT, validator=validators.gt(0.0))
    bounded_timeout_epochs: int = field(default=3, validator=_SOME_EPOCHS)
    isolate: bool | None = None
