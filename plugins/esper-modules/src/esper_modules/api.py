"""What programs and commands import: the worker that answers requests for artifacts, and what asks."""

from esper_modules.addresses import store_section
from esper_modules.orders import guard_digest, order_of, request_of
from esper_modules.prefetching import Prefetcher
from esper_modules.worker import LEASE_SECONDS, Answered, PrefetchWorker

__all__ = [
    "LEASE_SECONDS",
    "Answered",
    "PrefetchWorker",
    "Prefetcher",
    "guard_digest",
    "order_of",
    "request_of",
    "store_section",
]
