"""Write down what the plugin API promises: `python tools/api_golden.py [--check]`.

Every version has a file of its own, ``tests/compatibility/api-<version>.json``, with the hooks, their arguments and
defaults, and the fields and defaults of the descriptors. Only the file of the present version is ever written. What a
file of the same major version promises is kept: tests hold it.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import NOTHING, Factory, fields

import esper_core
from esper_core.hooks import PROJECT, SPECIFICATIONS
from esper_core.plugins.kinds import KINDS

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "compatibility"

#: In the place of a default where there is none.
REQUIRED = "required"

Promises = Mapping[str, Mapping[str, Mapping[str, Any]]]


def golden_file(version: tuple[int, int]) -> Path:
    """Return the file of a version of the plugin API."""
    return FOLDER / f"api-{version[0]}.{version[1]}.json"


def live() -> Promises:
    """Return what the plugin API of the installed core is."""
    return {
        "hooks": {
            name: {"firstresult": bool(options.get("firstresult")), "historic": bool(options.get("historic"))}
            | {f"argument {name}": default for name, default in _arguments(function)}
            for specification in SPECIFICATIONS
            for name, function in vars(specification).items()
            if (options := getattr(function, f"{PROJECT}_spec", None)) is not None
        },
        "descriptors": {
            kind.spec.__name__: {f"field {field.name}": _written(field.default) for field in fields(kind.spec)}
            for kind in KINDS
        },
    }


def broken(before: Promises, now: Promises) -> Iterator[str]:
    """Yield what was promised and is not kept: what is gone or changed, and fields that a plugin would have to set."""
    for group, promised in before.items():
        for name, details in promised.items():
            present = now[group].get(name)
            if present is None:
                yield f"{name} is gone"
                continue
            for detail, value in details.items():
                if detail not in present:
                    yield f"{name}: {detail} is gone"
                elif present[detail] != value:
                    yield f"{name}: {detail} was {value}, and is {present[detail]}"
            if group == "descriptors":
                new = [it for it in present if it not in details and present[it] == REQUIRED]
                yield from (f"{name}: {detail} is new and has no default" for detail in new)


def additions(before: Promises, now: Promises) -> Iterator[str]:
    """Yield the names that are new: ``esper_hook``, ``esper_hook.argument``, ``BlueprintSpec.field``."""
    for group, present in now.items():
        for name, details in present.items():
            known = before[group].get(name)
            if known is None:
                yield name
            else:
                yield from (f"{name}.{detail.split()[-1]}" for detail in details if detail not in known)


def _arguments(function: Any) -> Iterator[tuple[str, str]]:
    for name, parameter in [*inspect.signature(function).parameters.items()][1:]:
        yield name, REQUIRED if parameter.default is parameter.empty else repr(parameter.default)


def _written(default: Any) -> str:
    if default is NOTHING:
        return REQUIRED
    return repr(default.factory() if isinstance(default, Factory) else default)  # type: ignore[arg-type]


def main() -> int:
    """Write the file of the present version, or with ``--check`` say whether it is current."""
    parser = argparse.ArgumentParser(description="Write down what the plugin API promises.")
    parser.add_argument("--check", action="store_true", help="only say whether the file is current")
    arguments = parser.parse_args()
    path, text = golden_file(esper_core.API), json.dumps(live(), indent=2) + "\n"
    if arguments.check:
        if path.is_file() and path.read_text() == text:
            return 0
        print(f"{path.name} is not current: run `python tools/api_golden.py`", file=sys.stderr)
        return 1
    path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
