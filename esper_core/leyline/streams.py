"""Named random streams: every use of randomness has a name, and its seed follows from the run's."""

import hashlib


def derive_seed(run_seed: int, *names: str | int) -> int:
    """Return the seed, 0 to 2**63 - 1, of the stream with this name.

    Streams with different names are independent for all practical purposes (SHA-256 of seed and names).
    """
    text = "\x1f".join([str(run_seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
