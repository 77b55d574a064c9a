"""The state directory: where everything lives that services keep, keys and embedded buses among it."""

import os
from pathlib import Path

from esper_core.leyline.errors import EsperError

#: The environment's word for the state directory.
STATE = "ESPER_STATE"


def state_path(given: Path | str | None = None) -> Path:
    """Return where the state directory is, or would be; nothing is made.

    It is ``given`` (what `--state` names), else what the environment's ESPER_STATE names, else ``.esper`` in the
    working directory, beside ``runs``.
    """
    return Path(given or os.environ.get(STATE) or ".esper")


def state_directory(given: Path | str | None = None) -> Path:
    """Return the state directory, where `state_path` says, which is made if need be, for its owner only.

    Raises:
        EsperError: E612 if it cannot be made.
    """
    directory = state_path(given)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        why = f"{error.strerror}"
        raise EsperError("E612", "the state directory cannot be made", where=str(directory), why=why) from error
    return directory
