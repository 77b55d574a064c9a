"""Load plugins one by one, nothing of Esper around each but the core, and resolve all that it names.

    python -S alone.py FOLDER[:FOLDER...]...

Every folder holds one installed distribution; behind it stand those of Esper that it declares. The core and the
libraries are on PYTHONPATH. Prints a JSON object: for each first folder, the plugins seen from it.
"""

import json
import os
import sys
from importlib import invalidate_caches
from typing import Any

from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.records import PluginRecord
from esper_core.plugins.resolve import build_config, resolve


def plugins_seen_from(folders: list[str]) -> list[dict[str, Any]]:
    """Return every plugin that is visible with these folders on the path, and forget what was imported from them."""
    before = sys.path
    sys.path = [*folders, *before]
    invalidate_caches()
    try:
        return [seen(record) for record in load_plugins(tolerant=True).records]
    finally:
        sys.path = before
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
    places = [argument.split(os.pathsep) for argument in sys.argv[1:]]
    print(json.dumps({folders[0]: plugins_seen_from(folders) for folders in places}))
