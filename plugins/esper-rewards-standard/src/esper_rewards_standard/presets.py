"""Rewards that are made of the terms, in the shape of a run's ``rewards.terms``."""

from collections.abc import Mapping
from typing import Any

#: Each preset's terms, by name, with weight and options. Under each of them automatic culls and stops are charged.
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    # Credit in every epoch, and every kind of shaping. More credit would pay for seeds that are not worth their rent.
    "shaped": {
        "stage-potential": {"weight": 1.0},
        "attribution": {"weight": 0.2},
        "rent": {"weight": 0.02},
        "intervention": {"weight": 1.0},
        "automatic": {"weight": 1.0},
        "germination": {"weight": 0.1},
        "fossilization": {"weight": 0.5},
        "cull": {"weight": 0.3},
        "early-cull": {"weight": 0.1},
        "warning": {"weight": 0.3},
        "terminal": {"weight": 3.0},
    },
    # What the network is worth in the end, and a potential on the way there.
    "simplified": {
        "stage-potential": {"weight": 1.0},
        "intervention": {"weight": 0.5},
        "automatic": {"weight": 1.0},
        "terminal": {"weight": 3.0},
    },
    # Nothing but what the network is worth in the end.
    "sparse": {"automatic": {"weight": 1.0}, "terminal": {"weight": 1.0}},
    # The same, and no germinating and culling in turns.
    "minimal": {"automatic": {"weight": 1.0}, "early-cull": {"weight": 0.1}, "terminal": {"weight": 1.0}},
    # For tasks where accuracy says little, such as text: losses on the scale of random guessing and of the twin.
    "loss": {
        "stage-potential": {"weight": 0.1},
        "rent": {"weight": 0.05},
        "automatic": {"weight": 1.0},
        "loss-gain": {"weight": 1.0},
        "loss-terminal": {"weight": 1.0},
    },
}


def preset(name: str) -> list[dict[str, Any]]:
    """Return a preset's terms as ``rewards.terms`` has them: tables with name, weight and options.

    Raises:
        EsperError: E204 if there is no such preset.
    """
    if name not in PRESETS:
        # Imported here: descriptors are made of the presets, and listing plugins should import nothing else.
        from esper_core.api import EsperError, did_you_mean

        raise EsperError("E204", f'there is no preset "{name}" of rewards', why=did_you_mean(name, PRESETS))
    return [{"name": term, **settings} for term, settings in PRESETS[name].items()]
