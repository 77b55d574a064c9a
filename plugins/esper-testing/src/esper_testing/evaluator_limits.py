"""Vital signs that are less and less well, figure by figure: where the limits of an evaluator must show."""

from collections.abc import Mapping

from attrs import evolve

from esper_core.leyline.evidence import Compute, Evidence
from esper_core.leyline.vital_signs import VitalSigns

#: What a run knows of its policy and of the machine where all is well.
HEALTHY_RUN: Mapping[str, float] = {
    "memory share": 0.5,
    "processor share": 0.5,
    "device memory share": 0.5,
    "decision seconds": 0.001,
    "policy entropy": 0.6,
    "value error": 0.1,
    "policy age hours": 1.0,
}

#: Figures of a host and of its run, from little to much.
_SIZES = (0.0, 0.01, 0.07, 0.15, 0.3, 0.4, 0.6, 0.8, 0.93, 0.97, 1.5, 2.5, 1e12)


def near_limits(healthy: VitalSigns) -> list[VitalSigns]:
    """Return healthy signs with a loss, a ratio or a number of objections swept from good to bad in small steps."""
    found = []
    for step in range(60):
        loss = healthy.best_loss * 1.15**step / 4
        metrics = evolve(healthy.evidence.validation, loss=loss)
        worse = evolve(healthy, evidence=evolve(healthy.evidence, validation=metrics, train=metrics))
        found += [evolve(worse, objections=count) for count in (0, 1, 2, 3, 4, 6, 9, 20)]
        found += [evolve(worse, best_loss=loss / 3.5, first_loss=loss / 3), evolve(worse, best_loss=1e-3 * loss)]
        found += [evolve(worse, objections=count, watched=True) for count in (0, 2, 9)]
        found += [evolve(worse, recent_losses=losses) for losses in ((), (0.2,), (1.3, 1.2), (0.2, 0.9, 0.3))]
        found += [evolve(worse, random_guess_loss=guess) for guess in (None, loss, 0.9 * loss, 1.04 * loss)]
        seeds = tuple(evolve(seed, update_ratio=loss, gradient_ratio=loss) for seed in healthy.evidence.seeds)
        found.append(evolve(healthy, evidence=evolve(healthy.evidence, seeds=seeds)))
    return found


def costly(healthy: VitalSigns) -> list[VitalSigns]:
    """Return healthy signs in which one figure of what growing takes, or of the run, is swept from good to bad.

    Each is there after no objections, and after some; a figure of the run also missing, and of no run at all.
    """
    found = [evolve(healthy, run=None)]
    for size in _SIZES:
        evidence = healthy.evidence
        timed = [evolve(it, seconds=size) for it in (evidence.train, evidence.validation)]
        found += [
            evolve(healthy, evidence=it)
            for it in (
                evolve(evidence, parameters=int((1.0 + size) * evidence.host_parameters)),
                evolve(evidence, forward_flops=int(size)),
                evolve(evidence, compute=Compute(training=int(size))),
                evolve(evidence, train=timed[0], validation=timed[1]),
                evolve(evidence, learning_rate=-size, validation=evolve(evidence.validation, loss=1e-3 + size)),
                evolve(evidence, seeds=tuple(evolve(seed, gradient_ratio=size) for seed in evidence.seeds)),
                *_less_known(evidence),
            )
        ]
        found += [evolve(healthy, run={**HEALTHY_RUN, name: size}) for name in HEALTHY_RUN]
    found += [evolve(healthy, run={key: it for key, it in HEALTHY_RUN.items() if key != name}) for name in HEALTHY_RUN]
    return [evolve(it, objections=count) for it in found for count in (0, 1, 2, 999)]


def _less_known(evidence: Evidence) -> list[Evidence]:
    one = tuple(evolve(seed, contribution=None) for seed in evidence.seeds)
    two = tuple(evolve(seed, update_ratio=None) for seed in one)
    all_three = tuple(evolve(seed, gradient_ratio=None) for seed in two)
    apart = tuple(evolve(seed, isolated=False) for seed in evidence.seeds)
    return [evolve(evidence, seeds=it) for it in (one, two, all_three, apart)]
