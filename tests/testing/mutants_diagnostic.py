"""Wrong diagnostics, one for each check."""

import random
from typing import Any

import torch
from attrs import frozen

from esper_core.api import NetworkView
from esper_core.specs import DiagnosticSpec
from esper_testing import DiagnosticSubject


@frozen(kw_only=True)
class Norms:
    """What `Right` finds."""

    weights: dict[str, float]
    gradient: float
    noise: float
    slots: int


class Right:
    """A right diagnostic: norms, a gradient of its own, an activation through a hook, and a random number."""

    def __init__(self, config: None) -> None:
        pass

    def examine(self, view: NetworkView) -> Any:
        weights = {name: tensor.norm().item() for name, tensor in view.model.named_parameters()}
        trained = [parameter for parameter in view.model.parameters() if parameter.requires_grad]
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(view.model(view.inputs).square().sum(), trained[:1])
        noise = torch.randn(1).item()
        return Norms(weights=weights, gradient=gradient.norm().item(), noise=noise, slots=len(view.slots))


class FindsMapping(Right):
    def examine(self, view: NetworkView) -> Any:
        return {"slots": len(view.slots)}


@frozen
class Activation:
    """A finding with a tensor."""

    value: Any


class FindsTensor(Right):
    def examine(self, view: NetworkView) -> Any:
        return Activation(view.model(view.inputs))


class KnowsImagesOnly(Right):
    def examine(self, view: NetworkView) -> Any:
        _, _, height, _ = view.inputs.shape
        return Activation(height)


class RoundsWhatIsFinite(Right):
    def examine(self, view: NetworkView) -> Any:
        return Activation(round(next(view.model.parameters()).sum().item()))


class PerturbsWeights(Right):
    def examine(self, view: NetworkView) -> Any:
        for parameter in view.model.parameters():
            parameter.data.add_(1e-3)
        return Activation(0)


class GoesBackward(Right):
    def examine(self, view: NetworkView) -> Any:
        with torch.enable_grad():
            view.model(view.inputs).sum().backward()
        return Activation(0)


class LeavesHooks(Right):
    def examine(self, view: NetworkView) -> Any:
        view.model.register_forward_hook(lambda *_: None)
        return Activation(0)


class Freezes(Right):
    def examine(self, view: NetworkView) -> Any:
        view.model.requires_grad_(False)
        return Activation(0)


class DrawsFromPython(Right):
    def examine(self, view: NetworkView) -> Any:
        return Activation(random.random() * 0)


class Counts(Right):
    def __init__(self, config: None) -> None:
        self.times = 0

    def examine(self, view: NetworkView) -> Any:
        self.times += 1
        return Activation(self.times)


class LabelsItself(Right):
    def __init__(self, config: None) -> None:
        self.label = random.Random().random()

    def examine(self, view: NetworkView) -> Any:
        return Activation(self.label)


class ScalesInputs(Right):
    def examine(self, view: NetworkView) -> Any:
        if view.inputs.is_floating_point():
            view.inputs.mul_(0.5)
        return Activation(0)


class TiresAfterMany(Right):
    def __init__(self, config: None) -> None:
        self.times = 0

    def examine(self, view: NetworkView) -> Any:
        self.times += 1
        return Activation(float(self.times > 100))


class KeepsWeights(Right):
    def __init__(self, config: None) -> None:
        self.before: list[Any] = []

    def examine(self, view: NetworkView) -> Any:
        self.before.append([parameter.clone() for parameter in view.model.parameters()])
        return Activation(0)


class ListsSet(Right):
    def examine(self, view: NetworkView) -> Any:
        return Activation([*{name for name, _ in view.model.named_parameters()}])


@frozen(kw_only=True)
class Options:
    """Of a diagnostic that does not use them."""

    bins: int = 8


class HasItsOwnBins(Right):
    def __init__(self, config: Options) -> None:
        self.bins = config.bins


def subject(factory: Any) -> DiagnosticSubject:
    return DiagnosticSubject(spec=DiagnosticSpec(name="mutant", summary="Wrong.", factory=factory))


RIGHT = [subject(Right)]

MUTANTS = {
    "diagnostic-finds": [
        (subject(FindsMapping), "of images it returned {'slots': 1}"),
        (subject(FindsTensor), "of images it found something that is not plain data: Tensor"),
        (subject(KnowsImagesOnly), "not enough values to unpack"),
        (subject(RoundsWhatIsFinite), "cannot convert float NaN"),
    ],
    "diagnostic-no-trace": [
        (subject(PerturbsWeights), "of images it has changed weights"),
        (subject(GoesBackward), "of images it has changed gradients"),
        (subject(LeavesHooks), "of images it has changed hooks"),
        (subject(Freezes), "of images it has changed which parameters are trained"),
        (subject(DrawsFromPython), "of images it has changed random's global generator"),
    ],
    "diagnostic-deterministic": [
        (subject(Counts), "of images it found {'value': 1}, then {'value': 2}"),
        (subject(LabelsItself), "and built alike"),
    ],
    "component-input-untouched": [(subject(ScalesInputs), "have changed")],
    "component-many-calls": [(subject(TiresAfterMany), "it does something else than in its first use")],
    "component-memory": [(subject(KeepsWeights), "bytes more with each use")],
    "component-processes": [(subject(ListsSet), "in two processes")],
    "component-options-used": [
        (
            DiagnosticSubject(
                spec=DiagnosticSpec(name="mutant", summary="Wrong.", factory=HasItsOwnBins, config=Options)
            ),
            "with bins = .* all is as with 8",
        )
    ],
}
