"""The rules, in the order in which they are asked. The first one that has an answer decides."""

from collections.abc import Callable
from statistics import NormalDist

from attrs import evolve

from esper_core.api import Action, GovernorMode, Op, SlotSignals
from esper_policy_heuristic.preference import choose
from esper_policy_heuristic.view import HostView

Rule = Callable[[HostView], Action | None]


def decide(view: HostView) -> list[Action]:
    """Return the answer of the first rule that has one; the last rule always has.

    A germination is followed by others in further slots, up to ``config.germinations``, each as if it were the first.
    """
    actions = [_answer(view)]
    while actions[-1].op is Op.GERMINATE and len(actions) < view.config.germinations:
        view = view.without(actions[-1].slot)
        if not view.germinable:
            break
        actions.append(_answer(view))
    return actions


def _answer(view: HostView) -> Action:
    return next(action for rule in RULES if (action := rule(view)) is not None)


def fossilize_what_has_passed(view: HostView) -> Action | None:
    """Keep what has passed its last gate; of several the one that contributes most surely."""
    ready = view.among(view.masks.slots_for(Op.FOSSILIZE))
    if not ready:
        return None
    best = max(ready, key=lambda slot: slot.contribution.lower_bound() if slot.contribution else float("-inf"))
    why = "it has passed its last gate"
    if best.contribution is not None:
        why += f", contribution {best.contribution.mean:+.4f} nats"
    verdict = best.state.next_gate
    return _act(Op.FOSSILIZE, best, why, verdict.score if verdict else None)


def cull_what_does_harm(view: HostView) -> Action | None:
    """Remove what a gate has called harmful."""
    for slot in view.among(view.masks.slots_for(Op.CULL)):
        if slot.state.harmful:
            return _act(Op.CULL, slot, "a gate has called it harmful")
    return None


def cull_what_is_of_no_use(view: HostView) -> Action | None:
    """Remove what has settled and surely contributes less than nothing."""
    z = NormalDist().inv_cdf(view.config.useless_confidence)
    for slot in view.among(view.masks.slots_for(Op.CULL)):
        if slot.contribution is None or slot.state.settled_epochs < view.config.settle_epochs:
            continue
        bound = slot.contribution.upper_bound(z)
        if bound < 0.0:
            settled = f"{slot.state.settled_epochs} epochs after its ramp"
            why = f"{settled} the upper bound of its contribution is {bound:+.4f} nats"
            return _act(Op.CULL, slot, why)
    return None


def wait_where_nothing_can_be_germinated(view: HostView) -> Action | None:
    """Leave it at that where no slot is free for a blueprint of the preference."""
    if view.germinable:
        return None
    why = "nothing can be germinated"
    if view.host.governor is not GovernorMode.NORMAL:
        why += f" (the governor is {view.host.governor})"
    return _wait(f"{why}; live seeds, none of which needs anything: {view.live}")


def wait_for_the_first_epochs(view: HostView) -> Action | None:
    """Let the host get going first."""
    begin = view.config.germinate_from
    if view.progress >= begin:
        return None
    return _wait(f"{100 * view.progress:.0f} % of the run is over, nothing is germinated before {100 * begin:.0f} %")


def wait_in_the_late_phase(view: HostView) -> Action | None:
    """Germinate nothing that could not pay any more."""
    end = max(view.config.germinate_until, view.config.plateau_until)
    if view.progress < end:
        return None
    return _wait(f"{100 * view.progress:.0f} % of the run is over, too late for a seed (after {100 * end:.0f} %)")


def wait_for_measurements(view: HostView) -> Action | None:
    """Never act on what is not known."""
    if view.fit is not None:
        return None
    host = view.host
    known = {
        "the training accuracy": host.train_accuracy,
        "the validation accuracy": host.validation_accuracy,
        "the training loss": host.train_loss,
        "the validation loss": host.validation_loss,
    }
    missing = [name for name, value in known.items() if value is None]
    return _wait(f"not known: {', '.join(missing)}; it takes both accuracies, or both losses")


def wait_where_the_host_fits(view: HostView) -> Action | None:
    """Leave hosts alone that need no more capacity: they fit their training data, or will soon."""
    fit, bar = view.fit, view.fit_bar
    if fit is None or fit.train < bar:
        return None
    at = f"{100 * view.progress:.0f} %"
    return _wait(f"the host does not underfit: training {fit.measure} {fit.train:.3f} at {at}, bar {bar:.3f}")


def wait_where_the_host_overfits(view: HostView) -> Action | None:
    """Leave hosts alone whose trouble is not too little capacity."""
    fit, limit = view.fit, view.config.max_accuracy_gap
    if fit is None or fit.gap <= limit:
        return None
    return _wait(f"the host overfits: validation is {fit.gap:.3f} behind training {fit.measure}, {limit:.3f} allowed")


def germinate_early(view: HostView) -> Action | None:
    """Fill the slots of an underfitting host in quick succession while most of the run is ahead."""
    if view.progress >= view.config.germinate_until:
        return None
    return _germinate(view, "early in the run")


def germinate_on_a_plateau(view: HostView) -> Action | None:
    """Give an underfitting host that makes no progress another chance while half of the run is ahead."""
    if view.progress >= view.config.plateau_until or not view.on_plateau():
        return None
    return _germinate(view, f"on a plateau of {view.config.plateau_epochs} epochs")


def wait_for_a_plateau(view: HostView) -> Action:
    """After the early part of the run only a plateau makes a germination worth while."""
    return _wait(f"after {100 * view.config.germinate_until:.0f} % of the run only a plateau calls for a seed")


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


def _germinate(view: HostView, when: str) -> Action:
    """Germinate in the deepest slot, slots that have lost no seed first."""
    slots = enumerate(view.germinable)
    _, slot = max(slots, key=lambda item: (-len(item[1].state.culled_blueprints), item[1].state.site.depth, item[0]))
    culled = [other.state.culled_blueprints for other in view.slots]
    blueprint = choose(view.masks.blueprints_for(slot.slot), view.order, culled, view.config)
    fit, bar = view.fit, view.fit_bar
    assert fit is not None, "what is not known was asked before"
    why = f"the host underfits (training {fit.measure} {fit.train:.3f}, bar {bar:.3f}), {when}"
    action = _act(Op.GERMINATE, slot, why, min(1.0, (bar - fit.train) / bar))
    config = view.config
    return evolve(action, blueprint=blueprint, blend=config.blend, ramp_epochs=config.ramp_epochs)


def _act(op: Op, slot: SlotSignals, why: str, confidence: float | None = None) -> Action:
    return Action(op=op, slot=slot.slot, policy="heuristic", reason=why, confidence=confidence)


def _wait(why: str) -> Action:
    return Action(op=Op.WAIT, policy="heuristic", reason=why)
