"""Configuration files."""

import tomllib
from pathlib import Path
from typing import Any

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_runs.run_directory import CONFIG, RunDirectory


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a TOML configuration file into nested plain data.

    Raises:
        EsperError: E203 if there is no such file, it cannot be read, or it is not TOML (with line and column).
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        beside = [other.name for other in path.parent.glob("*.toml")]
        fix = did_you_mean(path.name, beside) if beside else "write one with: esper config init"
        raise EsperError("E203", f'there is no configuration file "{path}"', fix=fix) from error
    except (OSError, UnicodeDecodeError) as error:
        raise EsperError("E203", f'the configuration file "{path}" cannot be read', why=str(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise EsperError("E203", "the configuration file is not TOML", where=str(path), why=str(error)) from error


def read_run_config_file(directory: RunDirectory) -> dict[str, Any]:
    """Read the configuration file of a run. Raises EsperError E508 if it is missing or damaged."""
    try:
        return read_config_file(directory.path / CONFIG)
    except EsperError as error:
        raise directory.damaged(CONFIG, error.why or error.what) from error
