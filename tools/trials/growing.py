"""Small trainings in which a seed grows to the end, and what is to hold afterwards."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import esper_core
from esper_core.api import WAIT, Action, Blend, Decision, Op, Stage
from esper_export import NotPlainWarning, SurroundingsWarning
from trials.trial import Wrong

EPOCHS = 12
#: Batches of inputs and targets.
Batches = Sequence[tuple[Any, Tensor]]
#: A step of the training: the model, the optimizer, a batch.
Step = Callable[[nn.Module, torch.optim.Optimizer, Any, Tensor], None]

#: So few samples say little: a seed is kept if it helps on them at all.
QUICK: dict[str, Any] = {
    "gates": {"name": "permissive", "G5": {"min_samples": 2}},
    "settings": {"lifecycle": {"ramp_epochs": 1}},
}


class OneSeed:
    """Lets one seed of a blueprint begin at a time, in the first slot that it fits, until one is kept."""

    def __init__(self, blueprint: str) -> None:
        self.blueprint = blueprint

    def reset(self, begun: Any) -> None:
        """It has no memory."""

    def decide(self, situations: Iterable[Any]) -> list[Decision]:
        """Keep what may be kept."""
        return [Decision(actions=[self._one(situation)]) for situation in situations]

    def _one(self, situation: Any) -> Action:
        masks = situation.masks
        if masks.fossilize:
            return Action(op=Op.FOSSILIZE, slot=min(masks.fossilize))
        if any(slot.state.stage is not Stage.DORMANT for slot in situation.observation.slots):
            return WAIT
        for slot in masks.slots:
            if self.blueprint in masks.blueprints_for(slot):
                return Action(op=Op.GERMINATE, slot=slot, blueprint=self.blueprint, blend=Blend.LINEAR)
        return WAIT


class Net(nn.Module):
    """Three layers; the seed is to grow at the second one."""

    def __init__(self, features: int = 8) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, features), nn.Linear(features, features), nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 6) -> (B, 3)."""
        out: Tensor = self.c(torch.relu(self.b(torch.relu(self.a(x)))))
        return out


def vectors(count: int = 48, classes: int = 3) -> Batches:
    """Made-up data for `Net`: batches of 24."""
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
    y = (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0.5).long()
    return [*zip(x.split(24), y.clamp(max=classes - 1).split(24), strict=True)]


def grow(model: nn.Module, optimizer: torch.optim.Optimizer, *, blueprint: str = "mlp", **options: Any) -> Any:
    """Make a model growable, with one seed of a blueprint."""
    options = {"epochs": EPOCHS, "policy": OneSeed(blueprint), "blueprints": [blueprint], **QUICK, **options}
    return esper_core.grow(model, optimizer=optimizer, **options)


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model with a tensor, or with several by name."""
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Any, targets: Tensor) -> None:
    """A step as in any loop."""
    optimizer.zero_grad()
    loss_of(call(model, inputs), targets).backward()
    optimizer.step()


def loss_of(output: Any, targets: Tensor) -> Tensor:
    """The mean cross-entropy of classes, from whatever a model gives: means over all its positions."""
    logits = output if isinstance(output, Tensor) else output.logits
    if logits.ndim > 2:
        logits = logits.flatten(1, -2).mean(1)
    return cross_entropy(logits.float(), targets)


def train(
    handle: Any,
    batches: Batches,
    *,
    step: Step = plain_step,
    loss: Any = loss_of,
    model: nn.Module | None = None,
    after: Callable[[], None] = lambda: None,
    epochs: int = EPOCHS,
) -> None:
    """Train for some epochs, measuring on what is trained on: it is to grow, not to learn.

    Args:
        handle: what `grow` gave.
        batches: inputs and targets.
        step: a step of the training.
        loss: as for `epoch_end`.
        model: what is called, if not the handle's: a wrapper.
        after: is called after each step.
        epochs: how many.
    """
    called = handle.model if model is None else model
    for _ in range(epochs):
        called.train()
        for inputs, targets in batches:
            step(called, handle.optimizer, inputs, targets)
            after()
        handle.epoch_end(batches, loss, train_loss=1.0, train_accuracy=0.3)


def kept(handle: Any) -> int:
    """Return how many seeds were kept. Raises `Wrong` if none was, or one is not alive any more."""
    stages = [slot.stage for slot in handle.slots]
    count = sum(stage is Stage.FOSSILIZED for stage in stages)
    if not count:
        reasons = "; ".join(f"{report.blueprint}: {report.reason}" for report in handle.reports) or "none began"
        raise Wrong(f"no seed was kept: {', '.join(stage.name for stage in stages)[:80]} ({reasons})")
    return count


def exported(handle: Any, inputs: Any) -> str:
    """Compare a grown model with its plain copy, and say how they agree. Raises `Wrong` if they do not."""
    count, grown = kept(handle), handle.model.eval()
    with warnings.catch_warnings():
        # What every export of a network of transformers says; the page says it once.
        warnings.simplefilter("ignore", SurroundingsWarning)
        warnings.simplefilter("ignore", NotPlainWarning)
        plain = handle.export().eval()
    changed = any(bool(p.any()) for name, p in grown.named_parameters() if name.startswith("esper."))
    with torch.no_grad():
        ours, theirs = _tensor(call(grown, inputs)), _tensor(call(plain, inputs))
    if not changed or not bool(ours.isfinite().all()):
        raise Wrong("the seed has learned nothing" if bool(ours.isfinite().all()) else "its output is not finite")
    if torch.equal(ours, theirs):
        return f"{count} seed kept, the export is equal bit for bit"
    apart = float((ours - theirs).abs().max())
    if apart > 1e-5 * float(ours.abs().max()):
        raise Wrong(f"the export differs by {apart:.1e}")
    return f"{count} seed kept, the export is equal up to rounding ({apart:.0e})"


def grown(model: nn.Module, batches: Batches, **options: Any) -> str:
    """Grow a model with AdamW in a plain loop, and compare it with its export."""
    step = options.pop("step", plain_step)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    with grow(model, optimizer, **options) as handle:
        train(handle, batches, step=step)
        return exported(handle, batches[0][0])


def _tensor(output: Any) -> Tensor:
    found: Tensor = output if isinstance(output, Tensor) else output.logits
    return found
