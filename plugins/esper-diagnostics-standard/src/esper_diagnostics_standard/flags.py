"""What should not be, and the whole in a sentence."""

from collections.abc import Iterator
from math import isfinite

from esper_diagnostics_standard.findings import Diagnosis

#: A layer with a larger share of vanished, or of exploded gradients.
VANISHED, EXPLODED = 0.5, 0.01

#: A module with a larger share of dead units.
DEAD = 0.5

#: A class whose accuracy is this much below that of the best one; classes with fewer samples are left out.
LEFT_BEHIND, SAMPLES = 0.5, 5

#: A sharpness above this.
SHARP = 1.0


def flags(found: Diagnosis) -> Iterator[str]:
    """Yield the names of what should not be."""
    numbers = [found.loss, found.weight_norm, *([found.gradients.norm] if found.gradients else [])]
    if not all(map(isfinite, numbers)):
        yield "not finite"
    if any((layer.vanishing or 0.0) > VANISHED for layer in found.layers):
        yield "vanishing gradients"
    if any((layer.exploding or 0.0) > EXPLODED for layer in found.layers):
        yield "exploding gradients"
    if any(module.dead > DEAD * module.units for module in found.activations):
        yield "dead units"
    known = [one.accuracy for one in found.classes if one.accuracy is not None and one.samples >= SAMPLES]
    if known and max(known) - min(known) > LEFT_BEHIND:
        yield "a class is left behind"
    if found.sharpness is not None and found.sharpness > SHARP:
        yield "sharp minimum"


def narrative(found: Diagnosis) -> str:
    """Say it in a sentence."""
    return "; ".join([*_phrases(found), f"red flags: {', '.join(found.flags)}" if found.flags else "no red flag"])


def _phrases(found: Diagnosis) -> Iterator[str]:
    accuracy = "" if found.accuracy is None else f", accuracy {100 * found.accuracy:.1f} %"
    yield f"loss {found.loss:.3f}{accuracy}"
    if found.gradients is None:
        yield "nothing is trained"
    else:
        vanished = 100 * found.gradients.vanishing
        yield f"gradient norm {found.gradients.norm:.2g}, {vanished:.0f} % of the gradients vanished"
    if found.units:
        yield f"{found.dead_units} of {found.units} units dead"
    if found.sharpness is not None:
        yield f"sharpness {found.sharpness:.2g}"
    known = [one for one in found.classes if one.accuracy is not None]
    if known:
        worst = min(known, key=lambda one: (one.accuracy, one.index))
        yield f"worst class {worst.index} at {100 * worst.accuracy:.0f} %"
