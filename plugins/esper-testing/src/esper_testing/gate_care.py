"""What a gate must not rest on: a bound that is none, and names."""

from math import inf

from attrs import evolve

from esper_core.leyline.evidence import PairedDifference
from esper_core.leyline.specs import GateSpec
from esper_testing.check import Check, CheckFailure, CheckLevel, check, collect
from esper_testing.gate_subject import GateSubject
from esper_testing.renaming import renamed
from esper_testing.samples import difference, with_figure

CONTRACT = CheckLevel.CONTRACT

#: Differences of which nothing is known but that they look good: of one sample, or of many that say nothing.
THIN: dict[str, PairedDifference] = {
    "rests on one sample": PairedDifference(mean=1.0, standard_error=inf, count=1),
    "rests on no sample": PairedDifference(mean=1.0, standard_error=inf, count=0),
    "has an infinite error": PairedDifference(mean=1.0, standard_error=inf, count=400),
    "has an infinite error beside a huge mean": PairedDifference(mean=1e30, standard_error=inf, count=400),
    "is infinite": PairedDifference(mean=inf, standard_error=1e-6, count=400),
    "is infinite with an infinite error": PairedDifference(mean=inf, standard_error=inf, count=400),
}

#: The names in made-up evidence, and others.
OTHERS = (
    {"block0": "z9", "block0-0": "aa-17", "conv-light": "noop"},
    {"block0": "head", "block0-0": "head-3", "conv-light": "attention"},
    {"block0": "a", "block0-0": "conv-light", "conv-light": "block0"},
)


@check("gate-thin-evidence", GateSpec.kind, CONTRACT)
def thin_evidence(subject: GateSubject) -> None:
    """A difference of one sample, or one whose error is infinite, never passes if a bad one is refused.

    The error of fewer than two samples is infinite: nothing is known, and what was not measured never passes. A gate
    always passes this check that asks `PairedDifference.finite`, or compares `lower_bound` with something finite.
    """
    gate = subject.build()
    if not gate.evaluate(subject.good).passed:
        return
    for name in ("probe", "contribution"):
        if gate.evaluate(with_figure(subject.good, name, difference(-10.0))).passed:
            continue
        for what, thin in THIN.items():
            if gate.evaluate(with_figure(subject.good, name, thin)).passed:
                raise CheckFailure(
                    f"a seed whose {name} {what} was passed, though a bad {name} is refused",
                    cause="a test of the mean, or an infinite error that is taken for a missing one",
                    fix="require `finite`, and compare `lower_bound()` with the threshold",
                )


@check("gate-names", GateSpec.kind, CONTRACT)
def names(subject: GateSubject) -> None:
    """The verdict follows from figures: under other names of slot, seed and blueprint it is the same.

    A gate that looks at a name keeps or refuses a seed whatever it does. Verdict, score, harm and figures are compared,
    and the reason in words is not, which may well name the slot; so a gate that judges what was measured always passes.
    """
    gate = subject.build()
    for evidence in subject.samples():
        known = {evidence.slot: "block0", evidence.seed_id: "block0-0", evidence.blueprint: "conv-light"}
        for others in OTHERS:
            other = renamed(evidence, {name: others[place] for name, place in known.items()})
            one, two = (evolve(gate.evaluate(it), reason="") for it in (evidence, other))
            if repr(one) != repr(two):
                raise CheckFailure(
                    f"slot {other.slot}, seed {other.seed_id} and blueprint {other.blueprint} get {two!r:.150}; with "
                    f"the same figures {evidence.slot}, {evidence.seed_id} and {evidence.blueprint} get {one!r:.150}",
                    cause="a table or a condition by the name of a slot or blueprint",
                    fix="judge what was measured; which blueprints a run may use is said by its catalogue",
                )


#: The checks of this module in order.
CARE_CHECKS: tuple[Check, ...] = collect(globals())
