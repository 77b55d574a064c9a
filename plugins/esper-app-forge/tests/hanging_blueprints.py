"""Blueprints that are no good for a forge: a plugin of one file, for tests alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec

ESPER_API = "2.0"


class Mix(nn.Module):
    """A pointwise convolution behind a gain that is zero at birth."""

    def __init__(self, site, config):
        super().__init__()
        self.mix = nn.Conv2d(site.width, site.width, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, h):
        return self.gain * torch.tanh(self.mix(h))


class Hangs(Mix):
    """It starts a process, says where it is, and never ends."""

    def __init__(self, site, config):
        super().__init__(site, config)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(os.environ["ESPER_TEST_PIDS"]).write_text(f"{os.getpid()} {child.pid} .")
        while True:
            time.sleep(1)


class Crashes(Mix):
    def forward(self, h):
        os.kill(os.getpid(), 11)


class Depends(Mix):
    """What it computes depends on values: no program of operations."""

    def forward(self, h):
        return super().forward(h) if float(h.sum()) > 0 else torch.zeros_like(h)


class HangsOnce(Mix):
    """It hangs the first time, so that its forge can be killed meanwhile."""

    def __init__(self, site, config):
        super().__init__(site, config)
        if not (path := Path(os.environ["ESPER_TEST_PIDS"])).exists():
            path.write_text(f"{os.getpid()} .")
            time.sleep(600)


FAULTS = {"mix": Mix, "hangs": Hangs, "crashes": Crashes, "depends": Depends, "hangs-once": HangsOnce}


@hookimpl
def esper_blueprints():
    for name, factory in FAULTS.items():
        yield BlueprintSpec(name=name, summary="For tests.", factory=factory, layouts=("NCHW",))
