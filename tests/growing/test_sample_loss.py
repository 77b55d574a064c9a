"""What a user's loss and metric are: held against the loss of the batch, or refused by name."""

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from esper_core.adapting import TrainingMeter
from esper_core.leyline.errors import EsperError
from esper_growing.measuring.user_data import UserCriterion

GENERATOR = torch.Generator().manual_seed(3)
LOGITS = torch.randn(6, 8, 5, generator=GENERATOR)
TOKENS = torch.randint(0, 5, (6, 8), generator=GENERATOR)
PADDED = TOKENS.clone()
PADDED[:, 5:] = -100
PADDED[0, 2:] = -100


class Tokens(nn.Module):
    """A loss of the user's own with a reduction, as a module."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, logits, targets):
        return cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction=self.reduction)


def plain_mean(logits, targets):
    return cross_entropy(logits.transpose(1, 2), targets)


def flattened(logits, targets, reduction="mean"):
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def confirmed(loss, outputs, targets, metric=None):
    criterion = UserCriterion(loss=loss, metric=metric)
    criterion.confirm(outputs, targets)
    return criterion


@pytest.mark.parametrize("loss", [Tokens(), plain_mean, flattened], ids=["module", "mean", "flattened"])
def test_ignored_targets_count_for_nothing(loss):
    criterion = confirmed(loss, LOGITS, PADDED)
    expected = torch.stack([plain_mean(LOGITS[i : i + 1], PADDED[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(criterion.losses(LOGITS, PADDED), expected)
    right = (LOGITS.argmax(-1) == PADDED).float().sum(1) / (PADDED != -100).sum(1)
    torch.testing.assert_close(criterion.correct(LOGITS, PADDED), right)
    assert "-100 left out" in criterion.how


@pytest.mark.parametrize("loss", [Tokens(), plain_mean])
def test_targets_are_ignored_that_come_in_a_later_batch_only(loss):
    criterion = confirmed(loss, LOGITS, TOKENS)
    empty = PADDED.clone()
    empty[3] = -100
    assert criterion.countable(empty).tolist() == [True, True, True, False, True, True]
    kept = criterion.countable(empty)
    expected = torch.stack([plain_mean(LOGITS[i : i + 1], empty[i : i + 1]) for i in (0, 1, 2, 4, 5)])
    torch.testing.assert_close(criterion.losses(LOGITS[kept], empty[kept]), expected)


def test_a_training_sample_without_a_target_spoils_no_mean():
    meter = TrainingMeter(UserCriterion(loss=plain_mean))
    empty = TOKENS.clone()
    empty[3] = -100
    meter.add(LOGITS, empty)
    kept = [0, 1, 2, 4, 5]
    assert meter.read()[0] == pytest.approx(float(plain_mean(LOGITS[kept], TOKENS[kept])), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "expected"),
    [
        (mse_loss, torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.zeros(2, 2), [5.0, 0.0]),
        (
            lambda o, t: ((o - t) ** 2).sum() / len(t),
            torch.tensor([[1.0, 3.0], [0.0, 2.0]]),
            torch.zeros(2, 2),
            [10.0, 4.0],
        ),
        (binary_cross_entropy_with_logits, torch.zeros(2, 3), torch.ones(2, 3), [0.6931472] * 2),
        (nn.L1Loss(reduction="sum"), torch.tensor([[1.0, 3.0], [0.0, 2.0]]), torch.zeros(2, 2), [4.0, 2.0]),
    ],
    ids=["mean", "sum over a sample", "several labels", "sum over the batch"],
)
def test_a_loss_that_is_a_mean_of_sums_or_means_is_recognised(loss, outputs, targets, expected):
    criterion = confirmed(loss, outputs, targets)
    torch.testing.assert_close(criterion.losses(outputs, targets), torch.tensor(expected))
    assert criterion.correct(outputs, targets).isnan().all()


def test_a_mean_by_weights_of_classes_is_that_of_the_loss():
    logits, targets = LOGITS[:, 0], torch.tensor([0, 1, 2, 3, 4, 0])
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.5, 2.0, 1.0]))
    criterion = confirmed(loss, logits, targets)
    assert float(criterion.losses(logits, targets).mean()) == pytest.approx(float(loss(logits, targets)), rel=1e-4)


def contrastive(outputs, targets):
    return cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)))


def test_a_loss_over_the_batch_is_refused_by_name():
    with pytest.raises(EsperError, match="what the loss of a single sample is") as caught:
        confirmed(contrastive, LOGITS[:, 0], TOKENS[:, 0])
    assert caught.value.code == "E202"
    assert "one value per sample" in caught.value.fix


def test_rows_of_a_loss_over_the_batch_are_measured_in_the_batches_that_are_given():
    criterion = confirmed(
        lambda o, t: cross_entropy(o @ o.T, torch.arange(len(o)), reduction="none"), LOGITS[:, 0], TOKENS[:, 0]
    )
    assert criterion.across
    assert not confirmed(cross_entropy, LOGITS[:, 0], TOKENS[:, 0]).across


def test_targets_by_time_and_sample_are_refused():
    with pytest.raises(EsperError, match="single sample"):
        confirmed(lambda o, t: cross_entropy(o[:-1].flatten(0, 1), t[1:].flatten()), LOGITS, TOKENS)


@pytest.mark.parametrize(("classes", "side"), [(5, 7), (6, 6)])
def test_the_classes_of_an_image_are_where_the_loss_has_them(classes, side):
    logits = torch.randn(4, classes, 6, side, generator=torch.Generator().manual_seed(1))
    targets = torch.randint(0, classes, (4, 6, side), generator=torch.Generator().manual_seed(2))
    criterion = confirmed(cross_entropy, logits, targets)
    expected = (logits.argmax(1) == targets).float().flatten(1).mean(1)
    torch.testing.assert_close(criterion.correct(logits, targets), expected)


def test_classes_that_fit_two_axes_are_those_that_the_loss_means():
    logits = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(1))
    targets = torch.randint(0, 6, (4, 6), generator=torch.Generator().manual_seed(2))
    for loss, axis in ((cross_entropy, 1), (plain_mean, 2)):
        criterion = confirmed(loss, logits, targets)
        expected = (logits.argmax(axis) == targets).float().mean(1)
        torch.testing.assert_close(criterion.correct(logits, targets), expected)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_one_logit_has_no_largest_one(shape):
    outputs, targets = LOGITS[:, 0, 0].reshape(shape), torch.tensor([0, 1, 1, 0, 1, 0])
    criterion = confirmed(
        lambda o, t: binary_cross_entropy_with_logits(o.reshape(t.shape), t.float()), outputs, targets
    )
    assert criterion.correct(outputs, targets).isnan().all()


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (lambda o, t: (o.argmax(-1) == t).float().mean(), "6 samples"),
        (lambda o, t: 100.0 * torch.ones(len(t)), "not a percentage"),
        (lambda o, t: 0.5, "a float"),
    ],
)
def test_a_metric_that_is_none_of_single_samples_is_refused(metric, why):
    with pytest.raises(EsperError) as caught:
        confirmed(cross_entropy, LOGITS[:, 0], TOKENS[:, 0], metric)
    assert caught.value.code == "E202"
    assert why in caught.value.why


def test_a_batch_whose_loss_is_not_finite_tells_nothing():
    criterion = confirmed(cross_entropy, torch.full((2, 3), float("nan")), torch.tensor([0, 1]))
    assert not criterion.confirmed
    criterion.losses(LOGITS[:, 0], TOKENS[:, 0])
    assert criterion.confirmed
