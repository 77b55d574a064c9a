"""Configuration files."""

import tomllib
from pathlib import Path
from typing import Any

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_runs.reading import read_regular, refuse_oversized, why_unreadable
from esper_runs.run_directory import CONFIG, RunDirectory


def read_config_file(path: Path, *, inside: Path | None = None) -> dict[str, Any]:
    """Read a TOML configuration file into nested plain data. `inside`: a directory that it must not lead out of.

    Raises:
        EsperError: E203 if there is no such file, it cannot be read, or it is not TOML (with line and column).
    """
    try:
        # Some editors begin a file with a byte-order mark.
        tree = tomllib.loads(read_regular(path, inside=inside).decode("utf-8-sig"))
        refuse_oversized(tree)
    except FileNotFoundError as error:
        beside = [other.name for other in path.parent.glob("*.toml")]
        fix = did_you_mean(path.name, beside) if beside else "write one with: esper config init"
        raise EsperError("E203", f'there is no configuration file "{path}"', fix=fix) from error
    except tomllib.TOMLDecodeError as error:
        raise EsperError("E203", "the configuration file is not TOML", where=str(path), why=str(error)) from error
    except (OSError, RecursionError, ValueError) as error:
        what = f'the configuration file "{path}" cannot be read'
        saved = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else None
        raise EsperError("E203", what, why=why_unreadable(error), fix=saved) from error
    return tree


def read_run_config_file(directory: RunDirectory) -> dict[str, Any]:
    """Read the configuration file of a run. Raises EsperError E508 if it is missing or damaged."""
    try:
        return read_config_file(directory.path / CONFIG, inside=directory.path)
    except EsperError as error:
        raise directory.damaged(CONFIG, error.why or error.what) from error
