"""What of a grown network's surroundings does not know that it has grown: caches of decoders, and loaders of weights.

Networks of transformers, and others that follow their names, have both. They are known by these names alone.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from esper_core.kasmina.probing import agree, probe_arguments
from esper_core.kasmina.slot import Slot
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site


class SurroundingsWarning(UserWarning):
    """Something around an exported network works on the network as it was before it grew."""


def suit_surroundings(plain: nn.Module, fossils: Sequence[Slot], like: Tensor) -> frozenset[str]:
    """Switch a decoder's cache off where a seed looks at other positions, and say what does not load what has grown.

    A decoder with a cache is shown the newest position only, and its seeds have no cache.

    Args:
        plain: the exported network.
        fossils: the slots whose seeds have become a part of it.
        like: a tensor of its dtype, where it is.

    Returns:
        The slots whose seeds a cache would keep other positions from; none where the network has no cache.
    """
    if not fossils:
        return frozenset()
    configs: list[Any] = [getattr(plain, name, None) for name in ("config", "generation_config")]
    whole = frozenset(slot.site.id for slot in fossils if mixes_positions(slot.site, slot.seed, like, fed=slot.fed))
    if whole:
        cached = [config for config in configs if getattr(config, "use_cache", None)]
        for config in cached:
            config.use_cache = False
        if cached:
            warnings.warn(
                "the cache of decoding is off (use_cache=False): a seed looks at positions that a cache leaves out",
                SurroundingsWarning,
                stacklevel=4,
            )
    if callable(getattr(plain, "save_pretrained", None)):
        warnings.warn(
            "from_pretrained cannot rebuild what has grown: save the whole network with torch.save(plain, path), and "
            "load it with torch.load(path, weights_only=False)",
            SurroundingsWarning,
            stacklevel=4,
        )
    return whole if any(hasattr(config, "use_cache") for config in configs) else frozenset()


def mixes_positions(site: Site, seed: nn.Module, like: Tensor, *, fed: bool = False) -> bool:
    """Say whether a seed looks at other positions than the one that it computes.

    Args:
        site: where it stands.
        seed: is run on made-up activations.
        like: a tensor of their dtype, where they are to be.
        fed: it takes the input of the site's submodule as well.
    """
    if site.layout is not Layout.BTD or site.sample_shape[0] < 2:
        return False
    given, others = (probe_arguments(site, stream, like, fed=fed) for stream in range(2))
    for one, other in zip(given, others, strict=True):
        other[:, 1:] = one[:, 1:]
    training = seed.training
    try:
        with torch.no_grad():
            one, changed = (seed.eval()(*each)[:, 1:] for each in (given, others))
    finally:
        seed.train(training)
    return not agree(one, changed)
