"""How a network leaves Esper: a plain copy of a grown network, with nothing of Esper in it."""

from esper_export.decoding import SurroundingsWarning
from esper_export.network import Live, NotPlainWarning, export_network, refuse_live_seeds, remove_live_seeds

__all__ = ["Live", "NotPlainWarning", "SurroundingsWarning", "export_network", "refuse_live_seeds", "remove_live_seeds"]
