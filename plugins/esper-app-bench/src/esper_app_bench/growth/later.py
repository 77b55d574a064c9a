"""The arms of a task in which classes arrive later: what each makes of a network that knows the first ones."""

from collections.abc import Mapping
from typing import Any

from esper_app_bench.growth.arms import GROWN, HOST, Arm, Place, Settings

#: The trainer in which classes arrive later, in the entry-point group of `esper_studies.trainers`.
LATER = "later-classes"

#: With a budget of operations, the epochs that a run may have at most, in those of the grown one.
_MOST_EPOCHS = 100


def _told(learns: str | None) -> Any:
    def told(place: Place) -> Mapping[str, Any]:
        return {
            "learns": learns,
            "old_classes": place.task.old_classes,
            "first_epochs": place.epochs,
            "first_rate": place.task.rates[1],
        }

    return told


def _arm(name: str, says: str, **changes: Any) -> Arm:
    return Arm(name=name, says=says, trainer=LATER, **{"told": _told("new"), **changes})


def _host(place: Place) -> Settings:
    return {"policy.name": "null", "epochs": place.epochs}


def _equal_flops(place: Place) -> Settings:
    """The bare host until it has spent what the grown one has spent since the new classes arrived."""
    spent = None if place.anchor is None else place.anchor.figures.flops
    if spent is None:
        return _host(place)
    return {"policy.name": "null", "flops": float(spent), "epochs": _MOST_EPOCHS * place.epochs}


#: Each begins with the same network of its random seed, which has learned the old classes.
ARMS = (
    _arm("host-epochs", "fine-tuned on the new classes, for as many epochs as the grown one", settings=_host),
    _arm(
        GROWN,
        "learns the new classes and grows meanwhile, under the policy `heuristic`",
        settings=lambda _: {"policy.name": GROWN},
    ),
    _arm(
        HOST,
        "fine-tuned on the new classes, for as many FLOPs as the grown one has spent since they arrived",
        anchored=True,
        settings=_equal_flops,
    ),
    _arm(
        "nothing",
        "left as it was when the new classes arrived",
        settings=_host,
        told=_told(None),
        tuned=False,
    ),
    _arm(
        "together",
        "trained on the old classes and the new ones together, for as many FLOPs: what it costs to be without the old",
        anchored=True,
        settings=_equal_flops,
        told=_told("all"),
    ),
)
