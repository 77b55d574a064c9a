"""Made-up situations for policies: what an actor may see of a host, with masks that are sometimes narrower."""

from random import Random

from attrs import evolve

from esper_core.leyline.actions import ActionMasks, GovernorMode
from esper_core.leyline.catalogue import Catalogue, CatalogueEntry
from esper_core.leyline.evidence import GateResult, SeedEvidence
from esper_core.leyline.layouts import Layout
from esper_core.leyline.learning import Situation
from esper_core.leyline.observation import (
    WINDOW_EPOCHS,
    HostSignals,
    LearningCurves,
    Observation,
    SlotSignals,
    SlotState,
)
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, GateLevel, Stage
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


def host_names(count: int) -> tuple[str, ...]:
    """Return the names of the hosts of a round."""
    return tuple(f"host{index}" for index in range(count))


def without_slots(situation: Situation) -> Situation:
    """Return the same host without a slot."""
    return evolve(
        situation,
        observation=evolve(situation.observation, slots=()),
        masks=ActionMasks(slots=(), blueprints=situation.masks.blueprints),
    )


def unmeasured(situation: Situation) -> Situation:
    """Return the same host and seeds where no figure was ever measured."""
    seen = situation.observation
    blind = HostSignals(epoch=seen.host.epoch, epochs=seen.host.epochs, governor=seen.host.governor)
    slots = tuple(SlotSignals(state=evolve(slot.state, next_gate=None)) for slot in seen.slots)
    return evolve(situation, observation=Observation(host=blind, slots=slots))


def only_waiting(situation: Situation) -> Situation:
    """Return the same host under masks that allow nothing but to wait."""
    masks = situation.masks
    return evolve(situation, masks=ActionMasks(slots=masks.slots, blueprints=masks.blueprints))


def situations(catalogue: Catalogue, hosts: int, epoch: int, epochs: int, seed: int) -> list[Situation]:
    """Return a situation for each host, the same for the same arguments; hosts have different numbers of slots."""
    return [
        _situation(Random(f"{seed} {index} {epoch}"), host, catalogue, 1 + index, epoch, epochs)
        for index, host in enumerate(host_names(hosts))
    ]


def _situation(draw: Random, host: str, catalogue: Catalogue, slots: int, epoch: int, epochs: int) -> Situation:
    signals = tuple(_slot(draw, catalogue, index, slots) for index in range(slots))
    return Situation(
        host=host,
        observation=Observation(host=_host(draw, epoch, epochs), slots=signals),
        masks=_masks(draw, catalogue, signals),
    )


def _masks(draw: Random, catalogue: Catalogue, slots: tuple[SlotSignals, ...]) -> ActionMasks:
    """Everything that stages and layouts allow; often less, as budgets, limits and the governor make it."""

    def some(names: set[str]) -> frozenset[str]:
        share = draw.choice((1.0, 0.5, 0.0))
        return frozenset(name for name in sorted(names) if draw.random() < share)

    fitting = {
        slot.slot: some({entry.name for entry in catalogue if entry.fits(slot.state.site)})
        for slot in slots
        if slot.state.stage is Stage.DORMANT
    }
    return ActionMasks(
        slots=tuple(slot.slot for slot in slots),
        blueprints=catalogue.names,
        germinate={slot: names for slot, names in fitting.items() if names},
        cull=some({slot.slot for slot in slots if slot.state.stage.live}),
        fossilize=some({slot.slot for slot in slots if slot.state.stage is Stage.PROBATIONARY}),
        blends=tuple(Blend) if draw.random() < 0.8 else (draw.choice(list(Blend)),),
    )


def _host(draw: Random, epoch: int, epochs: int) -> HostSignals:
    def curve(low: float, high: float) -> tuple[float | None, ...]:
        past = [None if draw.random() < 0.05 else draw.uniform(low, high) for _ in range(epoch)]
        return tuple(past[-WINDOW_EPOCHS:])

    train_losses, validation_losses = curve(0.0, 3.0), curve(0.0, 3.0)
    return HostSignals(
        epoch=epoch,
        epochs=epochs,
        curves=LearningCurves(
            train_losses=train_losses,
            validation_losses=validation_losses,
            train_accuracies=curve(0.0, 1.0),
            validation_accuracies=curve(0.0, 1.0),
            best_validation_loss=min((loss for loss in validation_losses if loss is not None), default=None),
            epochs_since_best=draw.randrange(epoch + 1),
        ),
        random_guess_loss=draw.choice((None, 2.3)),
        parameters=1000,
        host_parameters=800,
        governor=draw.choice(list(GovernorMode)),
        twin_validation_loss=draw.choice((None, draw.uniform(0.0, 3.0))),
    )


def _slot(draw: Random, catalogue: Catalogue, index: int, count: int) -> SlotSignals:
    site = Site(
        id=f"site{index}",
        path=f"blocks.{index}",
        layout=draw.choice(list(Layout)),
        width=8,
        sample_shape=(8,),
        order=index,
        depth=(index + 1) / count,
    )
    stage = draw.choice(list(Stage))
    state = SlotState(
        site=site,
        stage=stage,
        epochs_in_stage=draw.randrange(5),
        culled_blueprints=tuple(draw.choices(catalogue.names, k=draw.randrange(3))),
    )
    if not stage.holds_module:
        return SlotSignals(state=state)
    verdict = GateResult(gate=GateLevel.G2, passed=draw.random() < 0.5, score=draw.random(), reason="made up")
    state = evolve(
        state,
        blueprint=draw.choice(catalogue.names),
        age_epochs=draw.randrange(20),
        blend=list(Blend)[index % len(Blend)],
        ramp_epochs=index,
        alpha=draw.random(),
        parameters=100,
        settled_epochs=draw.randrange(6),
        next_gate=draw.choice((None, verdict)),
        harmful=draw.random() < 0.2,
    )
    return SlotSignals(state=state, evidence=_evidence(draw, state))


def _evidence(draw: Random, state: SlotState) -> SeedEvidence | None:
    """What was measured of the slot's seed, if anything was."""
    if state.blueprint is None or draw.random() < 0.2:
        return None
    return SeedEvidence(
        slot=state.site.id,
        seed_id=f"{state.site.id}-0",
        blueprint=state.blueprint,
        stage=state.stage,
        epochs_in_stage=state.epochs_in_stage,
        age_epochs=state.age_epochs,
        alpha=state.alpha,
        gradient_ratio=draw.choice((None, draw.random())),
        update_ratio=draw.choice((None, draw.random())),
        probe=draw.choice((None, difference(draw.gauss(0, 0.1), 0.02))),
        contribution=draw.choice((None, difference(draw.gauss(0, 0.1), 0.02))),
    )
