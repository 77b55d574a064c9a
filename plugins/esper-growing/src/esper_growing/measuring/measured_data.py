"""A user's validation data, loss and metric, made ready to measure on: what they are is found out once."""

from collections.abc import Iterator, Mapping

from attrs import define, frozen
from torch import Tensor

from esper_core.kasmina.undisturbed import undisturbed
from esper_core.leyline.errors import EsperError
from esper_core.tolaria.data import Inputs, Samples, call, each, part, rows, tensors
from esper_core.tolaria.grower import Grower
from esper_growing.measuring.sample_accuracy import Metric
from esper_growing.measuring.sample_loss import Loss
from esper_growing.measuring.user_data import Batches, UserCriterion, as_samples, read_batches

#: The number of samples of the first batch on which loss and metric, and the network by diagnostics, are examined.
LOOKED_AT = 64


@frozen(kw_only=True)
class Measurable:
    """What `Grower.collect` needs.

    Attributes:
        criterion: loss and metric of a sample.
        samples: those that count.
        batch_size: samples in a pass; None: as many as is convenient.
    """

    criterion: UserCriterion
    samples: Samples
    batch_size: int | None

    def broken(self) -> str:
        """Name the tensors that hold values that are not finite; "" if none does."""
        return ", ".join(dict.fromkeys(name for batch in self.samples.batches for name in _not_finite(*batch)))


@define
class MeasuredData:
    """Remembers what was found out, as long as loss and metric stay the same."""

    _criterion: UserCriterion | None = None

    @property
    def how(self) -> str:
        """What was found out about loss and metric, in words."""
        return "nothing was measured yet" if self._criterion is None else self._criterion.how

    def prepare(self, grower: Grower, batches: Batches, loss: Loss, metric: Metric | None) -> Measurable:
        """Return data that can be measured on.

        Raises:
            EsperError: E302 for data that cannot be measured on, E202 for a loss or metric that is none of single
                samples.
        """
        pairs, model = read_batches(batches), grower.growth.slot_set.model
        device = next(iter(grower.growth.slot_set.host_parameters)).device
        criterion, fixed = self._criterion_of(loss, metric), grower.forks.fixed_batch
        if not criterion.confirmed:
            inputs, targets = pairs[0]
            shown = len(targets) if fixed else min(LOOKED_AT, len(targets))
            inputs = each(part(inputs, 0, shown), lambda tensor: tensor.to(device))
            with undisturbed(model):
                criterion.confirm(call(model, inputs), targets[:shown].to(device))
        samples = Samples(batches=tuple(_counted(criterion, *pair) for pair in as_samples(pairs, device).batches))
        if not any(len(targets) for _, targets in samples.batches):
            why, fix = "the loss ignores every target", "give validation data with targets"
            raise EsperError("E302", "nothing can be measured on the validation data", why=why, fix=fix)
        given = rows(pairs[0][0])
        if fixed and any(len(targets) % given for _, targets in samples.batches):
            raise EsperError(
                "E302",
                "nothing can be measured on the validation data",
                why=f"the model takes batches of one size only, and not all of these have {given} samples",
                fix="let the loader drop the last, smaller batch (drop_last=True)",
            )
        return Measurable(criterion=criterion, samples=samples, batch_size=given if fixed or criterion.across else None)

    def _criterion_of(self, loss: Loss, metric: Metric | None) -> UserCriterion:
        known = self._criterion
        if known is None or known.loss is not loss or known.metric is not metric:
            self._criterion = known = UserCriterion(loss=loss, metric=metric)
        return known


def _not_finite(inputs: Inputs, targets: Tensor) -> Iterator[str]:
    names = inputs if isinstance(inputs, Mapping) else range(len(inputs)) if isinstance(inputs, tuple) else None
    titles = ["inputs"] if names is None else [f"inputs[{name!r}]" for name in names]
    for title, tensor in zip([*titles, "targets"], [*tensors(inputs), targets], strict=True):
        if not bool(tensor.isfinite().all()):
            yield title


def _counted(criterion: UserCriterion, inputs: Inputs, targets: Tensor) -> tuple[Inputs, Tensor]:
    counted = criterion.countable(targets)
    if bool(counted.all()):
        return inputs, targets

    def kept(tensor: Tensor) -> Tensor:
        return tensor[counted]

    return each(inputs, kept), targets[counted]
