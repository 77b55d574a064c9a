"""Grow a LightningModule in Lightning's own Trainer: `EsperCallback`, for ``import pytorch_lightning``.

For ``import lightning`` it is `esper_adapter_lightning.unified.EsperCallback`: each of the two packages takes callbacks
of its own class only.
"""

from pytorch_lightning import Callback

from esper_adapter_lightning.growing import Growing


class EsperCallback(Growing, Callback):
    """Grows what a Trainer of ``pytorch_lightning`` trains; see `Growing`."""


__all__ = ["EsperCallback"]
