"""A range of epochs as people write it."""

import re


def epoch_range(text: str) -> tuple[int | None, int | None]:
    """Read ``5-20``, ``5-``, ``-20`` or ``5``, counted from 1.

    Returns:
        The first and the last epoch, counted from 0; None is not a bound.

    Raises:
        ValueError: if it is none, or contains no epoch.
    """
    matched = re.fullmatch(r"(\d*)(-?)(\d*)", text.strip())
    if not matched or not (matched[1] or matched[3]):
        raise ValueError(f"{text!r} is not a range of epochs such as 5-20, 5-, -20 or 5")
    first = int(matched[1]) if matched[1] else None
    last = first if not matched[2] else int(matched[3]) if matched[3] else None
    if 0 in (first, last) or (first is not None and last is not None and first > last):
        raise ValueError(f"{text!r} contains no epoch: they are counted from 1")
    return None if first is None else first - 1, None if last is None else last - 1
