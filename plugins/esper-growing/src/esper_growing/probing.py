"""Finding out what a network does by running it on other forms of one batch: for hosts made of networks of others."""

from esper_core.kasmina.undisturbed import undisturbed
from esper_growing.sites.axes import follows_rows, looks_back

__all__ = ["follows_rows", "looks_back", "undisturbed"]
