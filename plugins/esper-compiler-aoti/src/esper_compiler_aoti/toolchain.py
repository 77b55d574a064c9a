"""Whether this machine can make machine code. Nothing here imports torch."""

import os
import shutil
import sys
from collections.abc import Mapping

#: The environment's word for the C++ compiler that torch uses.
CXX = "CXX"


def missing(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return why no machine code can be made here; None if it can, as far as is known before it is tried.

    The C++ compiler is the one that torch will call: ``CXX``, else its default for the operating system.
    """
    compiler = environment.get(CXX) or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler, path=environment.get("PATH")) is None:
        return f"there is no C++ compiler {compiler} (install one, or name it in {CXX})"
    return None
