"""lora at linear and convolutional sites beside PEFT's: the same numbers, through a training."""

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig as TheirConfig
from peft import inject_adapter_in_model
from torch import Tensor, nn

from esper_blueprint_lora.config import LoraConfig
from esper_blueprint_lora.module import Lora
from esper_core.api import EsperError, Layout, Site, SiteRequest
from esper_core.kasmina.forward_mode import ForwardMode
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.sites import confirm_sites
from esper_core.kasmina.slot import Slot, bare_copy
from esper_core.kasmina.slot_set import SlotSet
from esper_export import export_network

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.relu(self.conv(x)).mean((2, 3)))


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.linear = nn.Linear(6, 24), nn.Linear(24, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(torch.tanh(self.up(x)))


CASES = [
    (Images, "conv", (4, 3, 7, 7)),
    (Images, "linear", (4, 3, 7, 7)),
    (Text, "up", (4, 5, 6)),
    (Text, "linear", (4, 5, 6)),
]


def frozen(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().requires_grad_(False)


def theirs(kind: Callable[[], nn.Module], path: str, rank: int) -> nn.Module:
    model = frozen(kind)
    config = TheirConfig(r=rank, lora_alpha=rank, target_modules=[path], lora_dropout=0.0)
    inject_adapter_in_model(config, model)
    torch.manual_seed(1)
    model.get_submodule(path).reset_lora_parameters("default", True)
    return model


def ours(kind: Callable[[], nn.Module], path: str, sample: Tensor, **options: float) -> tuple[nn.Module, Slot]:
    """A host with one seed that is blended in completely, and trains as a part of it."""
    model = prepare_root(frozen(kind))
    layout = Layout.NCHW if path == "conv" else None
    (site,) = confirm_sites(model, [SiteRequest(path=path, layout=layout)], lambda m: m(sample))
    slot_set = SlotSet(model, [site], torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.0))
    torch.manual_seed(1)
    seed = Lora(site, LoraConfig(**options), bare_copy(model.get_submodule(path)))
    assert not slot_set.plant(site, "s", seed, 0, random=False, learning_rate=0.1, fed=True)
    slot = slot_set.attach(site)
    slot.enter(ForwardMode.OPEN)
    slot.set_alpha(1.0)
    return model, slot


def trained(model: nn.Module, parameters: list[Tensor], x: Tensor) -> Tensor:
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    target = torch.randn(model(x).shape, generator=torch.Generator().manual_seed(2))
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), target).backward()
        optimizer.step()
    return model(x).detach()


@pytest.mark.parametrize(("kind", "path", "shape"), CASES)
def test_trains_like_pefts_at_the_same_rank_and_seed(
    kind: Callable[[], nn.Module], path: str, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    reference = theirs(kind, path, 2)
    model, slot = ours(kind, path, x, rank=2)
    layer = reference.get_submodule(path)
    torch.testing.assert_close(slot.seed.down.weight, layer.lora_A["default"].weight, **TOLERANCE)
    before = model(x)
    expected = trained(reference, [p for p in reference.parameters() if p.requires_grad], x)
    actual = trained(model, [*slot.seed.parameters()], x)
    assert not torch.allclose(actual, before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(actual, expected, **TOLERANCE)
    torch.testing.assert_close(slot.seed.up.weight, layer.lora_B["default"].weight, **TOLERANCE)
    torch.testing.assert_close(slot.seed.matrix(), layer.get_delta_weight("default"), **TOLERANCE)


@pytest.mark.parametrize(("kind", "path", "shape"), CASES)
def test_a_fossil_is_merged_into_the_layer_and_can_be_taken_out_again(
    kind: Callable[[], nn.Module], path: str, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    model, slot = ours(kind, path, x, rank=3)
    trained(model, [*slot.seed.parameters()], x)
    slot.enter(ForwardMode.FOSSIL)
    plain = export_network(model)
    before = frozen(kind)
    assert {*plain.state_dict()} == {*before.state_dict()}
    assert type(plain.get_submodule(path)) is type(before.get_submodule(path))
    torch.testing.assert_close(plain(x), model(x), **TOLERANCE)
    added = plain.get_submodule(path).weight - before.get_submodule(path).weight
    assert torch.linalg.matrix_rank(added.flatten(1), rtol=1e-3) <= 3
    torch.testing.assert_close(
        plain.get_submodule(path).weight - slot.seed.matrix(), before.get_submodule(path).weight, **TOLERANCE
    )


def test_the_matrix_stays_within_the_layers_own_norm() -> None:
    model, slot = ours(Text, "up", torch.randn(4, 5, 6), rank=4)
    with torch.no_grad():
        for parameter in slot.seed.parameters():
            parameter.normal_(std=100.0)
    norms = [torch.linalg.matrix_norm(weight, ord=2) for weight in (slot.seed.matrix(), model.up.weight)]
    assert norms[0] <= 1.001 * norms[1]


def test_refuses_a_convolution_with_groups() -> None:
    site = Site(id="c", path="c", layout=Layout.NCHW, width=4, sample_shape=(4, 5, 5), input_shape=(4, 5, 5))
    with pytest.raises(EsperError, match="cannot be built") as error:
        Lora(site, LoraConfig(), nn.Conv2d(4, 4, 3, padding=1, groups=4))
    assert error.value.code == "E404"
