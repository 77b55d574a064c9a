"""Grow a model of the transformers library in its own Trainer: `EsperCallback`."""

from esper_adapter_transformers.callback import EsperCallback

__all__ = ["EsperCallback"]
