"""Made-up situations for policies: what an actor may see of a host, with masks that are sometimes narrower."""

from random import Random
from typing import Any

from attrs import evolve, frozen

from esper_core.leyline.actions import ActionMasks, GovernorMode
from esper_core.leyline.catalogue import Catalogue, CatalogueEntry
from esper_core.leyline.observation import HostSignals, Observation, SlotSignals
from esper_core.leyline.sites import Layout
from esper_core.leyline.stages import Blend, Stage
from esper_testing.samples import difference

#: Blueprints of every layout, one that nobody may germinate among them.
CATALOGUE = Catalogue(
    (
        CatalogueEntry(name="noop", layouts=frozenset(Layout), learnable=False),
        CatalogueEntry(name="conv-light", layouts=frozenset({Layout.NCHW})),
        CatalogueEntry(name="depthwise", layouts=frozenset({Layout.NCHW})),
        CatalogueEntry(name="lora", layouts=frozenset({Layout.BTD, Layout.BD})),
        CatalogueEntry(name="mlp", layouts=frozenset({Layout.BTD, Layout.BD})),
        CatalogueEntry(name="a-name-of-its-own", layouts=frozenset(Layout)),
    )
)


@frozen(kw_only=True)
class Situation:
    """One host before one epoch: what an actor sees, and what is possible."""

    observation: Observation
    masks: ActionMasks

    def without_slots(self) -> "Situation":
        """The same host without a slot."""
        return Situation(
            observation=evolve(self.observation, slots=()),
            masks=ActionMasks(slots=(), blueprints=self.masks.blueprints),
        )

    def unmeasured(self) -> "Situation":
        """The same host and seeds where no figure was ever measured."""
        host = self.observation.host
        blind = HostSignals(epoch=host.epoch, epochs=host.epochs, governor=host.governor)
        slots = tuple(
            evolve(slot, gradient_ratio=None, update_ratio=None, probe=None, contribution=None, next_gate_passed=None)
            for slot in self.observation.slots
        )
        return Situation(observation=Observation(host=blind, slots=slots), masks=self.masks)


def only_waiting(situation: Situation) -> Situation:
    """Return the same host under masks that allow nothing but to wait."""
    masks = situation.masks
    return evolve(situation, masks=ActionMasks(slots=masks.slots, blueprints=masks.blueprints))


def situations(catalogue: Catalogue, hosts: int, epoch: int, epochs: int, seed: int) -> list[Situation]:
    """Return a situation for each host, the same for the same arguments; hosts have different numbers of slots."""
    return [_situation(Random(f"{seed} {host} {epoch}"), catalogue, 1 + host, epoch, epochs) for host in range(hosts)]


def _situation(draw: Random, catalogue: Catalogue, slots: int, epoch: int, epochs: int) -> Situation:
    signals = tuple(_slot(draw, catalogue, index, slots) for index in range(slots))
    return Situation(
        observation=Observation(host=_host(draw, epoch, epochs), slots=signals),
        masks=_masks(draw, catalogue, signals),
    )


def _masks(draw: Random, catalogue: Catalogue, slots: tuple[SlotSignals, ...]) -> ActionMasks:
    """Everything that stages and layouts allow; often less, as budgets, limits and the governor make it."""

    def some(names: set[str]) -> frozenset[str]:
        share = draw.choice((1.0, 0.5, 0.0))
        return frozenset(name for name in sorted(names) if draw.random() < share)

    fitting = {
        slot.slot: some({entry.name for entry in catalogue if entry.learnable and slot.layout in entry.layouts})
        for slot in slots
        if slot.stage is Stage.DORMANT
    }
    return ActionMasks(
        slots=tuple(slot.slot for slot in slots),
        blueprints=catalogue.names,
        germinate={slot: names for slot, names in fitting.items() if names},
        cull=some({slot.slot for slot in slots if slot.stage.live}),
        fossilize=some({slot.slot for slot in slots if slot.stage is Stage.PROBATIONARY}),
        blends=tuple(Blend) if draw.random() < 0.8 else (draw.choice(list(Blend)),),
    )


def _host(draw: Random, epoch: int, epochs: int) -> HostSignals:
    def history(low: float, high: float) -> tuple[float | None, ...]:
        return tuple(None if draw.random() < 0.05 else draw.uniform(low, high) for _ in range(epoch))

    train_losses, validation_losses = history(0.0, 3.0), history(0.0, 3.0)
    train_accuracies, validation_accuracies = history(0.0, 1.0), history(0.0, 1.0)
    return HostSignals(
        epoch=epoch,
        epochs=epochs,
        train_loss=train_losses[-1] if epoch else None,
        validation_loss=validation_losses[-1] if epoch else None,
        train_accuracy=train_accuracies[-1] if epoch else None,
        validation_accuracy=validation_accuracies[-1] if epoch else None,
        random_guess_loss=draw.choice((None, 2.3)),
        train_losses=train_losses,
        validation_losses=validation_losses,
        train_accuracies=train_accuracies,
        validation_accuracies=validation_accuracies,
        parameters=1000,
        host_parameters=800,
        governor=draw.choice(list(GovernorMode)),
        twin_validation_loss=draw.choice((None, draw.uniform(0.0, 3.0))),
    )


def _slot(draw: Random, catalogue: Catalogue, index: int, count: int) -> SlotSignals:
    layout, stage = draw.choice(list(Layout)), draw.choice(list(Stage))
    place: dict[str, Any] = {
        "slot": f"site{index}",
        "layout": layout,
        "width": 8,
        "depth": (index + 1) / count,
        "causal": False,
    }
    culled = tuple(draw.choices(catalogue.names, k=draw.randrange(3)))
    if not stage.holds_module:
        return SlotSignals(**place, stage=stage, epochs_in_stage=draw.randrange(5), culled_blueprints=culled)
    return SlotSignals(
        **place,
        stage=stage,
        epochs_in_stage=draw.randrange(5),
        blueprint=draw.choice(catalogue.names),
        age_epochs=draw.randrange(20),
        blend=list(Blend)[index % len(Blend)],
        ramp_epochs=index,
        alpha=draw.random(),
        parameters=100,
        gradient_ratio=draw.choice((None, draw.random())),
        update_ratio=draw.choice((None, draw.random())),
        probe=draw.choice((None, difference(draw.gauss(0, 0.1), 0.02))),
        contribution=draw.choice((None, difference(draw.gauss(0, 0.1), 0.02))),
        settled_epochs=draw.randrange(6),
        next_gate_passed=draw.choice((None, True, False)),
        next_gate_score=draw.choice((None, draw.random())),
        harmful=draw.random() < 0.2,
        culled_blueprints=culled,
    )
