"""`esper run --check-plugins`: the parts of a run, each behind its checks."""

from esper_testing.watching.inspecting import PluginWatch

__all__ = ["PluginWatch"]
