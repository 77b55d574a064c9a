"""The diagnostic `standard`. The network is called with its own weights once, and the device is waited for once."""

from math import hypot, isnan

import attrs
import torch

from esper_core.api import NetworkView
from esper_diagnostics_standard.classes import class_figures, confusion_rows, look_at_classes
from esper_diagnostics_standard.config import StandardConfig
from esper_diagnostics_standard.findings import ActivationFigures, Diagnosis
from esper_diagnostics_standard.flags import flags, narrative
from esper_diagnostics_standard.forward import loss, outputs, watching_activations
from esper_diagnostics_standard.gradients import gradient_figures, gradients, layer_figures, look_at_parameters
from esper_diagnostics_standard.pending import Pending
from esper_diagnostics_standard.sharpness import losses_around


class StandardDiagnostic:
    """Looks at gradients, weights, activations, classes and sharpness on one batch of the validation split.

    Args:
        config: how often, and at what.
    """

    def __init__(self, config: StandardConfig) -> None:
        self._config = config

    def examine(self, view: NetworkView) -> Diagnosis | None:
        """Return what was found; None in epochs in which it does not look."""
        config, pending = self._config, Pending()
        if view.epoch % config.every:
            return None
        with torch.enable_grad(), watching_activations(view, pending) as watched:
            given = outputs(view)
            mean = loss(view, given)
        pending.add("loss", mean)
        found = gradients(mean, view.model)
        look_at_parameters(view.model, found, config, pending)
        look_at_classes(view, given, pending, confusion=config.confusion)
        if config.sharpness_samples:
            around = losses_around(view, config.sharpness_samples, config.sharpness_scale)
            pending.add("sharpness", (around - mean.detach()).abs().mean() / config.sharpness_scale)
        pending.fetch()
        accuracy, classes = pending.one("correct"), class_figures(pending)
        known = [one.accuracy for one in classes if one.accuracy is not None]
        activations = tuple(
            ActivationFigures(
                name=name,
                rms=pending.one(f"rms {name}"),
                zeros=pending.one(f"zeros {name}"),
                units=units,
                dead=int(pending.one(f"dead {name}")),
            )
            for name, units in watched
        )
        layers = layer_figures(view.model, pending)
        diagnosis = Diagnosis(
            loss=pending.one("loss"),
            accuracy=None if isnan(accuracy) else accuracy,
            weight_norm=hypot(*(layer.weight_norm for layer in layers)),
            gradients=gradient_figures(found, config, pending),
            dead_units=sum(it.dead for it in activations),
            units=sum(it.units for it in activations),
            sharpness=pending.one("sharpness") if "sharpness" in pending else None,
            lowest_class=min(known, default=None),
            highest_class=max(known, default=None),
            layers=layers,
            activations=activations,
            classes=classes,
            confusion=confusion_rows(pending, len(classes)),
        )
        diagnosis = attrs.evolve(diagnosis, flags=tuple(flags(diagnosis)))
        return attrs.evolve(diagnosis, narrative=narrative(diagnosis))
