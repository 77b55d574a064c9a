"""The conformance suite is a distribution of its own, `esper-testing`; its names can be imported from here as well."""

from typing import Any

from esper_core.leyline.errors import EsperError


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what import machinery and inspection look for is not ours to explain
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import esper_testing
    except ModuleNotFoundError as error:
        raise EsperError(
            "E190",
            f'"esper_core.testing.{name}" is in a distribution of its own',
            why="esper-testing is not installed",
            fix="pip install esper-testing, and import it from esper_testing",
        ) from error
    return getattr(esper_testing, name)
