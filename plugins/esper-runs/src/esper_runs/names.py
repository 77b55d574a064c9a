"""Names from anywhere made fit to be a part of a path, in files and in other people's programs."""

import re
from hashlib import sha256

#: How many bytes of UTF-8 a safe name has at most: file systems take 255, and something may be put behind it.
LONGEST = 120

_UNSAFE = re.compile(r"[^\w.\- ]")
_DIGEST = 8


def safe_name(text: str) -> str:
    """Return a name that is one part of a path, and no other: no separator, no ``..``, nothing that a shell obeys.

    Letters, digits, ``_``, ``-``, ``.`` and spaces stay. What is changed gets a digest behind it, so that two names
    that differ stay different.
    """
    safe = _UNSAFE.sub("_", text).strip()
    safe = f"_{safe[1:]}" if safe.startswith((".", "-")) else safe
    if safe == text and safe and len(safe.encode()) <= LONGEST:
        return safe
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    kept = safe.encode("utf-8", "replace")[: LONGEST - _DIGEST - 1].decode("utf-8", "ignore").strip()
    return f"{kept or '_'}-{digest}"
