"""Data sets that others have published, on the Hugging Face hub or in the cache of earlier downloads."""

from esper_public_data.hub import load_splits

__all__ = ["load_splits"]
