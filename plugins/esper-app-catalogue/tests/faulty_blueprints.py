"""Blueprints with a fault each, and dossiers that say so: a plugin of one file, for tests alone."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout
from esper_karn.kinds import DossierSpec, Tier

ESPER_API = "2.0"


class Faulty(nn.Module):
    """A pointwise convolution behind a gain that is zero at birth; each subclass has a fault."""

    def __init__(self, site, config):
        super().__init__()
        self.mix = nn.Conv2d(site.width, site.width, 1)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, h):
        return (self.gain * torch.tanh(self.mix(h))).to(h.dtype)


class Exploding(Faulty):
    def forward(self, h):
        return 1e6 * self.gain * self.mix(h)


class Vanishing(Faulty):
    def __init__(self, site, config):
        super().__init__(site, config)
        self.second = nn.Parameter(torch.zeros(()))

    def forward(self, h):
        return self.second * super().forward(h)


class NotANumber(Faulty):
    def forward(self, h):
        return super().forward(h) + self.gain * float("nan")


class Endless(Faulty):
    """It starts a process, says where it is, and never ends."""

    def forward(self, h):
        if len(h) == 1:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(os.environ["ESPER_TEST_PIDS"]).write_text(f"{os.getpid()} {child.pid} .")
        while len(h) == 1:
            pass
        return super().forward(h)


class Leak(Faulty):
    def __init__(self, site, config):
        super().__init__(site, config)
        self.kept = []

    def forward(self, h):
        self.kept.append(bytes(1024))
        return super().forward(h)


class Noise(Faulty):
    def forward(self, h):
        return super().forward(h) + self.gain * torch.randn_like(h)


FAULTS = {
    "exploding": Exploding,
    "vanishing": Vanishing,
    "not-a-number": NotANumber,
    "endless": Endless,
    "leak": Leak,
    "noise": Noise,
}


@hookimpl
def esper_blueprints():
    for name, factory in FAULTS.items():
        yield BlueprintSpec(name=name, summary="Faulty.", factory=factory, layouts=(Layout.NCHW,))


@hookimpl
def esper_dossiers():
    for name in FAULTS:
        yield DossierSpec(
            name=name,
            summary="Faulty.",
            distribution="faulty-blueprints",
            tier=Tier.HIGH_RISK,
            risk=1.0,
            stage=6,
            tags=("fault",),
            quarantined=True,
        )
