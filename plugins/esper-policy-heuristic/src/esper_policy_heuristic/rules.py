"""The rules, in the order in which they are asked. The first one that has an answer decides."""

from collections.abc import Callable
from statistics import NormalDist

from attrs import evolve

from esper_core.api import Action, GovernorMode, Op, SlotSignals
from esper_policy_heuristic.preference import choose
from esper_policy_heuristic.situation import Situation

Rule = Callable[[Situation], Action | None]


def decide(situation: Situation) -> Action:
    """Return the answer of the first rule that has one; the last rule always has."""
    return next(action for rule in RULES if (action := rule(situation)) is not None)


def fossilize_what_has_passed(situation: Situation) -> Action | None:
    """Keep what has passed its last gate; of several the one that contributes most surely."""
    ready = situation.among(situation.masks.slots_for(Op.FOSSILIZE))
    if not ready:
        return None
    best = max(ready, key=lambda slot: slot.contribution.lower_bound() if slot.contribution else float("-inf"))
    why = "it has passed its last gate"
    if best.contribution is not None:
        why += f", contribution {best.contribution.mean:+.4f} nats"
    verdict = best.state.next_gate
    return _act(Op.FOSSILIZE, best, why, verdict.score if verdict else None)


def cull_what_does_harm(situation: Situation) -> Action | None:
    """Remove what a gate has called harmful."""
    for slot in situation.among(situation.masks.slots_for(Op.CULL)):
        if slot.state.harmful:
            return _act(Op.CULL, slot, "a gate has called it harmful")
    return None


def cull_what_is_of_no_use(situation: Situation) -> Action | None:
    """Remove what has settled and surely contributes less than nothing."""
    z = NormalDist().inv_cdf(situation.config.useless_confidence)
    for slot in situation.among(situation.masks.slots_for(Op.CULL)):
        if slot.contribution is None or slot.state.settled_epochs < situation.config.settle_epochs:
            continue
        bound = slot.contribution.upper_bound(z)
        if bound < 0.0:
            settled = f"{slot.state.settled_epochs} epochs after its ramp"
            why = f"{settled} the upper bound of its contribution is {bound:+.4f} nats"
            return _act(Op.CULL, slot, why)
    return None


def wait_where_nothing_can_be_germinated(situation: Situation) -> Action | None:
    """Leave it at that where no slot is free for a blueprint of the preference."""
    if situation.germinable:
        return None
    why = "nothing can be germinated"
    if situation.host.governor is not GovernorMode.NORMAL:
        why += f" (the governor is {situation.host.governor})"
    return _wait(f"{why}; live seeds, none of which needs anything: {situation.live}")


def wait_for_the_first_epochs(situation: Situation) -> Action | None:
    """Let the host get going first."""
    begin = situation.config.germinate_from
    if situation.progress >= begin:
        return None
    return _wait(f"{situation.progress:.0%} of the run is over, nothing is germinated before {begin:.0%}")


def wait_in_the_late_phase(situation: Situation) -> Action | None:
    """Germinate nothing that could not pay any more."""
    end = max(situation.config.germinate_until, situation.config.plateau_until)
    if situation.progress < end:
        return None
    return _wait(f"{situation.progress:.0%} of the run is over, too late for a seed (after {end:.0%})")


def wait_for_measurements(situation: Situation) -> Action | None:
    """Never act on what is not known."""
    if situation.host.train_accuracy is None:
        return _wait("the training accuracy is not known")
    if situation.accuracy_gap is None:
        return _wait("the validation accuracy is not known")
    return None


def wait_where_the_host_fits(situation: Situation) -> Action | None:
    """Leave hosts alone that need no more capacity: they fit their training data, or will soon."""
    accuracy, bar = situation.host.train_accuracy, situation.fit_bar
    if accuracy is None or accuracy < bar:
        return None
    return _wait(
        f"the host does not underfit: training accuracy {accuracy:.3f} at {situation.progress:.0%}, bar {bar:.3f}"
    )


def wait_where_the_host_overfits(situation: Situation) -> Action | None:
    """Leave hosts alone whose trouble is not too little capacity."""
    gap, limit = situation.accuracy_gap, situation.config.max_accuracy_gap
    if gap is None or gap <= limit:
        return None
    return _wait(f"the host overfits: validation is {gap:.3f} behind training accuracy, {limit:.3f} allowed")


def germinate_early(situation: Situation) -> Action | None:
    """Fill the slots of an underfitting host in quick succession while most of the run is ahead."""
    if situation.progress >= situation.config.germinate_until:
        return None
    return _germinate(situation, "early in the run")


def germinate_on_a_plateau(situation: Situation) -> Action | None:
    """Give an underfitting host that makes no progress another chance while half of the run is ahead."""
    if situation.progress >= situation.config.plateau_until or not situation.on_plateau():
        return None
    return _germinate(situation, f"on a plateau of {situation.config.plateau_epochs} epochs")


def wait_for_a_plateau(situation: Situation) -> Action:
    """After the early part of the run only a plateau makes a germination worth while."""
    return _wait(f"after {situation.config.germinate_until:.0%} of the run only a plateau calls for a seed")


RULES: tuple[Rule, ...] = (
    fossilize_what_has_passed,
    cull_what_does_harm,
    cull_what_is_of_no_use,
    wait_where_nothing_can_be_germinated,
    wait_for_the_first_epochs,
    wait_in_the_late_phase,
    wait_for_measurements,
    wait_where_the_host_fits,
    wait_where_the_host_overfits,
    germinate_early,
    germinate_on_a_plateau,
    wait_for_a_plateau,
)


def _germinate(situation: Situation, when: str) -> Action:
    """Germinate in the deepest slot, slots that have lost no seed first."""
    slots = enumerate(situation.germinable)
    _, slot = max(slots, key=lambda item: (-len(item[1].state.culled_blueprints), item[1].state.site.depth, item[0]))
    culled = [other.state.culled_blueprints for other in situation.slots]
    blueprint = choose(situation.masks.blueprints_for(slot.slot), situation.order, culled, situation.config)
    accuracy, bar = situation.host.train_accuracy or 0.0, situation.fit_bar
    why = f"the host underfits (training accuracy {accuracy:.3f}, bar {bar:.3f}), {when}"
    action = _act(Op.GERMINATE, slot, why, (bar - accuracy) / bar)
    config = situation.config
    return evolve(action, blueprint=blueprint, blend=config.blend, ramp_epochs=config.ramp_epochs)


def _act(op: Op, slot: SlotSignals, why: str, confidence: float | None = None) -> Action:
    return Action(op=op, slot=slot.slot, policy="heuristic", reason=why, confidence=confidence)


def _wait(why: str) -> Action:
    return Action(op=Op.WAIT, policy="heuristic", reason=why)
