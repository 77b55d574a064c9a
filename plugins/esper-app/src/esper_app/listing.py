"""What is installed, whether or not it can be used."""

import os

from esper_app.configuration.plugin_selection import PluginOptions, select
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.plugin_set import PluginSet
from esper_nissa.event_kinds import payload_classes


def list_plugins(options: PluginOptions | None = None) -> PluginSet:
    """Return the plugins that the environment and these options select, as `esper plugins list` shows them.

    A plugin that cannot be used is not an error here: its record says what is wrong with it.

    Raises:
        EsperError: E151 if the options contradict each other, E150 for an unknown name, E106 for an unreadable file.
    """
    return load_plugins(select(options or PluginOptions(), os.environ), tolerant=True)


def event_payloads(options: PluginOptions | None = None) -> dict[str, type]:
    """Return what the events hold whose kinds plugins have registered: attrs classes, by the name of the kind.

    Raises:
        EsperError: as `list_plugins`.
    """
    return payload_classes(list_plugins(options).registry)
