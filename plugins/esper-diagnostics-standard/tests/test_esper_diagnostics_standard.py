"""The figures of `standard` against slow, obvious references, and what it leaves behind: nothing."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from esper_core.api import NetworkView
from esper_diagnostics_standard import gradients
from esper_diagnostics_standard.config import StandardConfig
from esper_diagnostics_standard.diagnostic import StandardDiagnostic
from esper_diagnostics_standard.findings import Diagnosis
from esper_diagnostics_standard.pending import Pending

CLASSES = 3


class Classification:
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) == targets).float()


class Regression:
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(1)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.full((len(targets),), float("nan"))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, CLASSES)).eval()


def view(model: nn.Module | None = None, **changes: Any) -> NetworkView:
    generator = torch.Generator().manual_seed(1)
    given: dict[str, Any] = {
        "host": "grown",
        "epoch": 0,
        "model": network() if model is None else model,
        "slots": (),
        "inputs": torch.randn(40, 5, generator=generator),
        "targets": torch.randint(CLASSES, (40,), generator=generator),
        "criterion": Classification(),
    }
    return NetworkView(**given | changes)


@torch.no_grad()
def examined(shown: NetworkView, **options: Any) -> Diagnosis:
    torch.manual_seed(7)
    found = StandardDiagnostic(StandardConfig(**options)).examine(shown)
    assert found is not None
    return found


def reference_gradients(shown: NetworkView) -> list[Tensor]:
    model = copy.deepcopy(shown.model)
    shown.criterion.losses(model(shown.inputs), shown.targets).mean().backward()
    return [it.grad for it in model.parameters() if it.grad is not None]


def test_gradients_are_those_of_a_backward_pass() -> None:
    shown = view()
    found, flat = examined(shown), torch.cat([it.flatten() for it in reference_gradients(shown)])
    assert found.gradients is not None
    assert found.gradients.norm == pytest.approx(float(flat.norm()), rel=1e-5)
    for at, value in found.gradients.percentiles.items():
        assert value == pytest.approx(np.percentile(flat.abs().numpy(), float(at)), rel=1e-4, abs=1e-9)
    one = next(it for it in found.layers if it.name == "4.weight")
    assert one.gradient_norm == pytest.approx(float(reference_gradients(shown)[4].norm()), rel=1e-5)
    assert one.weight_norm == pytest.approx(float(shown.model[4].weight.detach().norm()), rel=1e-5)


def test_percentiles_of_very_many_gradients_are_those_of_every_nth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "MOST", 100)
    values = torch.arange(-1000.0, 1000.0)
    median, most = gradients.percentiles([values[:500], values[500:]], (50.0, 100.0)).tolist()
    assert median == pytest.approx(500, abs=25)
    assert most == pytest.approx(1000, abs=25)


def test_gradients_that_vanish_and_explode_are_counted_and_flagged() -> None:
    shown = view()
    flat = torch.cat([it.flatten() for it in reference_gradients(shown)]).abs()
    limits = {"vanishing": float(flat.median()), "exploding": float(flat.quantile(0.9))}
    found = examined(shown, **limits).gradients
    assert found is not None
    assert found.vanishing == pytest.approx(float((flat < limits["vanishing"]).float().mean()))
    assert found.exploding == pytest.approx(float((flat > limits["exploding"]).float().mean()))
    assert found.health == pytest.approx(1 - 0.5 * found.vanishing - 0.8 * found.exploding)
    assert {"vanishing gradients", "exploding gradients"} <= {*examined(shown, vanishing=1e2, exploding=1e-9).flags}
    assert not {"vanishing gradients", "exploding gradients"} & {*examined(shown).flags}


def test_sharpness_is_what_moving_filters_by_hand_does_to_the_loss() -> None:
    shown, scale, samples = view(), 0.1, 3
    found = examined(shown, sharpness_samples=samples, sharpness_scale=scale)
    torch.manual_seed(7)
    changes = []
    for _ in range(samples):
        model = copy.deepcopy(shown.model)
        with torch.no_grad():
            for weight in (it for it in model.parameters() if it.ndim > 1):
                drawn = torch.randn(weight.shape)
                for row, direction in zip(weight, drawn, strict=True):
                    row += scale * direction * (row.norm() / direction.norm())
            moved = shown.criterion.losses(model(shown.inputs), shown.targets).mean()
        changes.append(abs(float(moved) - found.loss))
    assert found.sharpness == pytest.approx(sum(changes) / samples / scale, rel=1e-3)


def test_sharpness_does_not_depend_on_how_large_the_filters_are() -> None:
    # A ReLU network whose first layer is ten times larger, and whose second is ten times smaller, is the same function.
    one, other = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, CLASSES)), None
    other = copy.deepcopy(one)
    with torch.no_grad():
        other[0].weight *= 10
        other[0].bias *= 10
        other[2].weight /= 10
    both = [examined(view(model)).sharpness for model in (one, other)]
    assert both[0] == pytest.approx(both[1], rel=1e-3)


def test_units_that_are_zero_for_every_sample_are_dead() -> None:
    model = network()
    with torch.no_grad():
        model[1].bias[:6] = -100.0
    found = examined(view(model))
    relu = next(it for it in found.activations if it.name == "2")
    assert (relu.units, relu.dead) == (8, 6)
    with torch.no_grad():
        given = model[:3](view().inputs)
    assert relu.zeros == pytest.approx(float((given == 0).float().mean()))
    assert relu.rms == pytest.approx(float(given.square().mean().sqrt()), rel=1e-5)
    assert "dead units" in found.flags
    assert f"{found.dead_units} of {found.units} units dead" in found.narrative


def test_every_class_has_its_own_accuracy() -> None:
    shown = view()
    found = examined(shown, confusion=True)
    answers = shown.model(shown.inputs).argmax(1)
    for one in found.classes:
        mine = shown.targets == one.index
        assert one.samples == int(mine.sum())
        assert one.accuracy == pytest.approx(float((answers[mine] == one.index).float().mean()))
        assert found.confusion[one.index] == tuple(int((answers[mine] == other).sum()) for other in range(CLASSES))
    assert found.accuracy == pytest.approx(float((answers == shown.targets).float().mean()))
    assert sum(map(sum, found.confusion)) == 40
    assert examined(shown).confusion == ()


def test_a_class_that_is_not_there_has_no_accuracy_and_one_that_is_left_behind_is_flagged() -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * torch.tensor([1.0, 0.0, 0.0]).expand(len(x), 3)

    found = examined(view(Blind(), targets=torch.arange(40) % 2))
    assert [one.accuracy for one in found.classes] == [1.0, 0.0, None]
    assert "a class is left behind" in found.flags
    assert "worst class 1 at 0 %" in found.narrative


def test_where_there_is_no_accuracy_there_is_none() -> None:
    model = nn.Sequential(nn.Linear(5, 2))
    found = examined(view(model, targets=torch.randn(40, 2), criterion=Regression()))
    assert (found.accuracy, found.classes, found.lowest_class) == (None, (), None)


def test_a_frozen_network_has_no_gradients() -> None:
    model = network().requires_grad_(False)
    found = examined(view(model))
    assert found.gradients is None
    assert all(it.gradient_norm is None for it in found.layers)
    assert "nothing is trained" in found.narrative


@pytest.mark.parametrize("form", [lambda x: (x,), lambda x: {"input": x}], ids=["tuple", "mapping"])
def test_what_a_users_model_takes_may_be_arguments(form: Any) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, input: Tensor) -> Tensor:
            return self.inner(input)

    inner = view(Model())
    assert examined(view(Model(), inputs=form(inner.inputs))).loss == examined(inner).loss


def test_it_looks_after_every_nth_epoch() -> None:
    diagnostic = StandardDiagnostic(StandardConfig(every=3, sharpness_samples=0))
    looked = [diagnostic.examine(view(epoch=epoch)) is not None for epoch in range(7)]
    assert looked == [True, False, False, True, False, False, True]


class Waits(TorchDispatchMode):
    """Counts operations whose result the processor waits for, were the tensors on a GPU."""

    OPERATIONS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ in self.OPERATIONS:
            self.found.append(str(function))
        return function(*args, **kwargs or {})


def test_the_device_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    fetch = Pending.fetch
    monkeypatch.setattr(Pending, "fetch", lambda pending: (fetched.append(1), fetch(pending))[1])
    shown = view()
    with Waits() as waits:
        examined(shown, confusion=True)
    assert waits.found == []
    assert fetched == [1]
    with Waits() as waits:
        float(shown.inputs.sum())
    assert waits.found  # it would be seen


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    before = {name: it.clone() for name, it in model.state_dict().items()}
    modes, versions = [it.training for it in model.modules()], [it._version for it in model.parameters()]
    yield
    assert all(torch.equal(it, before[name]) for name, it in model.state_dict().items())
    assert [it.training for it in model.modules()] == modes
    assert [it._version for it in model.parameters()] == versions
    assert all(it.grad is None for it in model.parameters())
    assert not any(it._forward_hooks for it in model.modules())


def test_a_network_that_raises_is_left_as_it_was() -> None:
    class Raising(Classification):
        def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
            raise RuntimeError("no loss")

    model = network()
    with unchanged(model), pytest.raises(RuntimeError, match="no loss"):
        examined(view(model, criterion=Raising()))
    with unchanged(model):
        examined(view(model))


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"percentiles": (50.0, 1.0)},
        {"percentiles": (-1.0,)},
        {"percentiles": (1.0, 1.0)},
        {"vanishing": 0.0},
        {"sharpness_samples": -1},
        {"sharpness_scale": 0.0},
        {"confusion": 1},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        StandardConfig(**options)
