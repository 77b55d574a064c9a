"""The life of a seed: stages, gates, and the one table of allowed transitions."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class Stage(IntEnum):
    """Where in its life a slot's seed stands. The values are stable; 5 belonged to a stage that is gone."""

    DORMANT = 1
    GERMINATED = 2
    TRAINING = 3
    BLENDING = 4
    PROBATIONARY = 6
    FOSSILIZED = 7
    CULLED = 8
    EMBARGOED = 9
    RESETTING = 10

    @property
    def live(self) -> bool:
        """A seed is present and its fate is open."""
        return self in _LIVE

    @property
    def holds_module(self) -> bool:
        """The slot holds a seed module: a live or a fossilized one."""
        return self in _LIVE or self is Stage.FOSSILIZED

    @property
    def contributes(self) -> bool:
        """The seed's update is added to the host's activations."""
        return self in (Stage.BLENDING, Stage.PROBATIONARY, Stage.FOSSILIZED)


_LIVE = frozenset({Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY})


class GateLevel(StrEnum):
    """The checks in front of stage transitions. G4 is deprecated; its name stays reserved."""

    G0 = "G0"
    G1 = "G1"
    G2 = "G2"
    G3 = "G3"
    G5 = "G5"


#: Every transition that exists, with the gates that guard it. There is no other way to change a stage.
TRANSITIONS: Mapping[tuple[Stage, Stage], tuple[GateLevel, ...]] = {
    (Stage.DORMANT, Stage.GERMINATED): (),
    (Stage.GERMINATED, Stage.TRAINING): (GateLevel.G0, GateLevel.G1),
    # Ramp from birth: incubation "none" has nothing to try in isolation.
    (Stage.GERMINATED, Stage.BLENDING): (GateLevel.G0, GateLevel.G1),
    (Stage.TRAINING, Stage.BLENDING): (GateLevel.G2,),
    (Stage.BLENDING, Stage.PROBATIONARY): (GateLevel.G3,),
    (Stage.PROBATIONARY, Stage.FOSSILIZED): (GateLevel.G5,),
    (Stage.GERMINATED, Stage.CULLED): (),
    (Stage.TRAINING, Stage.CULLED): (),
    (Stage.BLENDING, Stage.CULLED): (),
    (Stage.PROBATIONARY, Stage.CULLED): (),
    (Stage.CULLED, Stage.EMBARGOED): (),
    (Stage.EMBARGOED, Stage.RESETTING): (),
    (Stage.RESETTING, Stage.DORMANT): (),
}


class Incubation(StrEnum):
    """How a seed is trained before it may touch the host's activations.

    ``STE`` straight-through: the host sees its own activations, the seed sees the host's loss.
    ``PROBE``: in each step a second pass, with the seeds in training at a small alpha, trains them and nothing else.
    ``NONE``: no isolated training, the ramp starts at birth.
    """

    STE = "ste"
    PROBE = "probe"
    NONE = "none"


class Blend(StrEnum):
    """How a seed is blended in: the curve along which its alpha rises from 0 to 1.

    ``GATED``: along a straight line; beside it each sample takes a share of the update, in (0, 1), that the seed
    learns: ``h + alpha * share(h) * delta(h)``.
    """

    LINEAR = "linear"
    COSINE = "cosine"
    SIGMOID = "sigmoid"
    GATED = "gated"


class Cause(StrEnum):
    """What made a transition happen."""

    ACTION = "action"
    GATE = "gate"
    TIMEOUT = "timeout"
    SAFETY = "safety"
    COOLDOWN = "cooldown"
