"""A seed in the network's forward pass whose figures are not finite is a reason to change nothing else."""

from math import isfinite

from esper_core.api import GovernorMode, SeedEvidence, VitalSigns, Vote


class NotFinite:
    """Looks at the seeds that contribute. Losses are not its concern: those that are not finite never reach it."""

    def __init__(self, config: None) -> None: ...

    def evaluate(self, signs: VitalSigns) -> Vote:
        """Vote for caution while a seed that the network depends on is not sound."""
        found = [f"{what} of the seed in {it.slot}" for it in signs.evidence.seeds for what in _not_finite(it)]
        if not found:
            return Vote()
        return Vote(mode=GovernorMode.CONSERVATIVE, reason=f"not finite: {', '.join(found)}")


def _not_finite(seed: SeedEvidence) -> list[str]:
    if not seed.stage.contributes:
        return []
    flags = {"the update or a parameter": seed.finite, "a gradient": seed.gradients_finite}
    figures = {"the update ratio": seed.update_ratio, "the gradient ratio": seed.gradient_ratio}
    found = [name for name, flag in flags.items() if flag is False]
    return found + [name for name, figure in figures.items() if figure is not None and not isfinite(figure)]
