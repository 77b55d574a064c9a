"""Batches of measurements are sized by what they hold: activations, outputs of all branches, and what a loss makes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.protocols import Split
from esper_core.leyline.sites import SiteRequest
from esper_core.tolaria import footprint as footprints
from esper_core.tolaria.footprint import Footprint, footprint, largest
from esper_core.tolaria.fork_points import ForkMap
from esper_core.tolaria.measuring import measure

LENGTH, WIDTH = 4, 6


class LanguageModel(nn.Module):
    """Tokens (B, T) -> logits (B, T, vocabulary); remembers how large its outputs were."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.blocks = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, vocabulary)
        self.outputs: list[int] = []

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x).tanh()
        logits = self.head(x)
        self.outputs.append(logits.numel())
        return logits


class NextToken:
    """The loss makes one more tensor of the size of the logits, at least."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs.mT, targets, reduction="none").mean(-1)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) == targets).float().mean(-1)


def slots(vocabulary: int) -> SlotSet:
    torch.manual_seed(0)
    root = prepare_root(LanguageModel(vocabulary))
    sites = confirm_sites(
        root, [SiteRequest(path=f"blocks.{i}") for i in range(3)], lambda m: m(torch.zeros(2, LENGTH, dtype=torch.long))
    )
    grown = SlotSet(root, sites, torch.optim.SGD(root.parameters(), lr=0.1))
    for number, site in enumerate(sites):
        seed = nn.Linear(WIDTH, WIDTH)
        assert grown.plant(site, site.id, seed, number, random=False, learning_rate=0.1) == ""
        grown.attach(site).enter(ForwardMode.FOSSIL)
    root.outputs.clear()
    return grown


def data(vocabulary: int, samples: int = 40) -> Split:
    drawn = torch.randint(vocabulary, (2, samples, LENGTH), generator=torch.Generator().manual_seed(0))
    return Split(inputs=drawn[0], targets=drawn[1])


SETTINGS = [{"blocks_0": 0.0}, {"blocks_1": 0.0}, {"blocks_2": 0.0}]


@pytest.mark.parametrize("samples_that_fit", [1, 3, 10, 1000])
def test_no_pass_holds_more_than_the_budget(samples_that_fit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary, branches = 500, len(SETTINGS) + 1
    logits = LENGTH * vocabulary * 4
    budget = samples_that_fit * (branches + 2) * logits
    monkeypatch.setattr(footprints, "OUTPUT_BYTES", budget)
    grown, split = slots(vocabulary), data(vocabulary)
    forks = ForkMap()
    measure(grown, NextToken(), split, SETTINGS, forks=forks)
    grown.model.outputs.clear()  # those of trials
    measured = measure(grown, NextToken(), split, SETTINGS, forks=forks)
    assert measured.passes == 1
    rows = max(grown.model.outputs) // (LENGTH * vocabulary)
    # The loss of one branch makes a copy at least.
    assert (rows + rows // branches) * logits <= budget
    assert rows >= branches * min(samples_that_fit // 2, 32)


def test_where_not_even_one_sample_fits_in_all_branches_they_take_several_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vocabulary = 500
    grown, split = slots(vocabulary), data(vocabulary)
    whole = measure(grown, NextToken(), split, SETTINGS)
    grown.model.outputs.clear()
    monkeypatch.setattr(footprints, "OUTPUT_BYTES", 1)
    divided = measure(grown, NextToken(), split, SETTINGS)
    assert (whole.passes, divided.passes) == (1, 4)
    trial, *rest = grown.model.outputs
    assert trial == 2 * LENGTH * vocabulary
    assert rest == [LENGTH * vocabulary] * 4 * len(split.targets)
    for one, other in zip(
        [whole.metrics.sample_losses, *whole.losses], [divided.metrics.sample_losses, *divided.losses], strict=True
    ):
        assert torch.allclose(torch.tensor(one), torch.tensor(other), atol=1e-5)
    assert divided.update_ratios == pytest.approx(whole.update_ratios, rel=1e-4)


def test_the_footprint_is_that_of_the_largest_samples() -> None:
    grown = slots(50).model.eval()
    split = data(50)
    longer = torch.zeros(3, 2 * LENGTH, dtype=torch.long)
    with torch.no_grad():
        found = footprint(grown, [], NextToken(), *largest([(split.inputs, split.targets), (longer, longer)]))
    assert found.output_bytes == 2 * LENGTH * 50 * 4
    # log-probabilities, and losses and hits, which are small
    assert found.output_bytes <= found.loss_bytes <= 3 * found.output_bytes
    assert found.widest == 2 * LENGTH


@pytest.mark.parametrize("branches", [1, 8])
def test_small_outputs_leave_the_batch_as_large_as_the_cache_allows(branches: int) -> None:
    def size(**fields: int) -> int:
        return Footprint(widest=2048, **fields).batch_size(branches)

    assert size() == size(output_bytes=40, loss_bytes=120) == 256


def test_large_vocabularies_make_small_batches() -> None:
    logits = 64 * 50257 * 4
    found = Footprint(widest=64 * 768, output_bytes=logits, loss_bytes=2 * logits)
    assert [found.batch_size(branches) for branches in (1, 2, 8)] == [4, 4, 2]
    long = Footprint(widest=1024 * 768, output_bytes=16 * logits, loss_bytes=32 * logits)
    assert (long.most_branches, long.batch_size(1)) == (1, 1)
    assert Footprint(widest=64 * 768, output_bytes=logits, loss_bytes=2 * logits, on_cpu=False).batch_size(8) == 8
