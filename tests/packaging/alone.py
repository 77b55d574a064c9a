"""Load plugins one by one, nothing of Esper around each but the core, and resolve all that it names.

    python -S alone.py FOLDER...

Every folder holds one installed distribution; the core and the libraries are on PYTHONPATH. Prints a JSON object: for
each folder, the plugins seen from it.
"""

import json
import sys
from importlib import invalidate_caches
from typing import Any

from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.records import PluginRecord
from esper_core.plugins.resolve import build_config, resolve


def plugins_seen_from(folder: str) -> list[dict[str, Any]]:
    """Return every plugin that is visible with this folder on the path, and forget what was imported from it."""
    sys.path.insert(0, folder)
    invalidate_caches()
    try:
        return [seen(record) for record in load_plugins(tolerant=True).records]
    finally:
        sys.path.remove(folder)
        for name in [name for name in sys.modules if name.startswith("esper_") and not name.startswith("esper_core")]:
            del sys.modules[name]


def seen(record: PluginRecord) -> dict[str, Any]:
    """Return a plugin's name, status and components, and what cannot be resolved."""
    problems = [record.problem] if record.problem else []
    for registered in record.components:
        # What says that it cannot run on this machine must still be there.
        spec = evolve(registered.spec, unavailable=None)
        try:
            resolve(registered._replace(spec=spec))
            build_config(registered, {})
        except EsperError as error:
            problems.append(str(error))
    return {
        "distribution": record.origin.distribution,
        "status": record.status,
        "offers": [registered.id for registered in record.components] + list(record.hooks),
        "problems": problems,
    }


if __name__ == "__main__":
    print(json.dumps({folder: plugins_seen_from(folder) for folder in sys.argv[1:]}))
