"""Growing one network in several processes: `grow`, which keeps it the same in all of them."""

from esper_distributed.grow import grow
from esper_distributed.handle import DistributedHandle

__all__ = ["DistributedHandle", "grow"]
