"""What the diagnostic finds. All of it is of one batch of the validation split, in evaluation mode."""

from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class GradientFigures:
    """Gradients of the mean loss of the batch, of all parameters that are trained.

    Attributes:
        norm: their 2-norm.
        percentiles: of their absolute values, by percentile.
        vanishing, exploding: shares of them below and above the limits.
        health: 1 - 0.5 times the first share - 0.8 times the second; at least 0.
    """

    norm: float
    percentiles: Mapping[str, float]
    vanishing: float
    exploding: float
    health: float


@frozen(kw_only=True)
class LayerFigures:
    """One parameter.

    Attributes:
        name: in the network.
        weight_norm: its 2-norm.
        gradient_norm, vanishing, exploding: as in `GradientFigures`; None if it is not trained, or the loss does not
            depend on it.
    """

    name: str
    weight_norm: float
    gradient_norm: float | None = None
    vanishing: float | None = None
    exploding: float | None = None


@frozen(kw_only=True)
class ActivationFigures:
    """What a module gives: one without parts, or one behind which there is a slot.

    Attributes:
        name: of the module in the network.
        rms: root of the mean square.
        zeros: share that is exactly 0.
        units: channels or features.
        dead: units that are 0 for every sample and at every position.
    """

    name: str
    rms: float
    zeros: float
    units: int
    dead: int


@frozen(kw_only=True)
class ClassFigures:
    """One class.

    Attributes:
        index: its number.
        samples: of it in the batch.
        accuracy: on them, 0 to 1; None if there are none.
    """

    index: int
    samples: int
    accuracy: float | None


@frozen(kw_only=True)
class Diagnosis:
    """What was found in a network.

    Attributes:
        loss: mean of the batch, in nats.
        accuracy: on the batch, 0 to 1; None where there is none.
        weight_norm: 2-norm of all parameters.
        gradients: None if nothing is trained.
        dead_units, units: sums over `activations`.
        sharpness: mean absolute change of the loss, in nats, when each filter is moved in a random direction by a share
            of its norm, over that share (filter normalisation: Li et al. 2018, Visualizing the Loss Landscape of Neural
            Nets, section 4); None if it was not looked at.
        lowest_class, highest_class: lowest and highest accuracy of a class; None where there are no classes.
        layers, activations, classes: one by one; no classes in sequences and without an accuracy.
        confusion: how often each class (row) was taken for each other (column); empty if not asked for.
        flags: what should not be, by name.
        narrative: all that in a sentence.
    """

    loss: float
    accuracy: float | None
    weight_norm: float
    gradients: GradientFigures | None
    dead_units: int
    units: int
    sharpness: float | None
    lowest_class: float | None
    highest_class: float | None
    layers: tuple[LayerFigures, ...]
    activations: tuple[ActivationFigures, ...]
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...] = field(default=())
    flags: tuple[str, ...] = ()
    narrative: str = ""
