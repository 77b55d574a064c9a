"""A plugin of one file: a run waits behind an epoch until a file is there, and is under way when it is looked at.

The environment says which epochs, counted from 0, and which files: ``ESPER_TEST_HELD={"15": "/tmp/looked"}``.
"""

import json
import os
from pathlib import Path
from threading import Event

from esper_core.hooks import hookimpl

ESPER_API = "2.0"

#: Tenths of a second after which a run goes on in any case: whoever was to look has failed.
_PATIENCE = 2400


def wait_behind(epoch):
    """Wait where an epoch is held."""
    path = json.loads(os.environ["ESPER_TEST_HELD"]).get(str(epoch))
    for _ in range(_PATIENCE if path else 0):
        if Path(path).exists():
            return
        Event().wait(0.1)


@hookimpl
def esper_epoch_end(host, evidence):
    """Hold the host that grows, or the first of them."""
    if not host.startswith("twin"):
        wait_behind(evidence.epoch)
