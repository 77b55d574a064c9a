"""`EsperCallback` for ``import lightning``, the package that holds all of Lightning."""

from typing import Any

from esper_adapter_lightning.growing import Growing


def _callback() -> Any:
    # An extra of the distribution.
    from lightning.pytorch import Callback

    return Callback


class EsperCallback(Growing, _callback()):  # type: ignore[misc]
    """Grows what a Trainer of ``lightning.pytorch`` trains; see `Growing`."""


__all__ = ["EsperCallback"]
