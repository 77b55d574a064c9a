"""The conformance suite is a distribution of its own, `esper-testing`; its names can be imported from here as well."""

from typing import Any

from esper_core.leyline.optional import optional_part


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what import machinery and inspection look for is not ours to explain
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    suite = optional_part("esper_testing", "the conformance suite is needed", where=f"esper_core.testing.{name}")
    return getattr(suite, name)
