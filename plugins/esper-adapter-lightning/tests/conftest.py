"""A tiny LightningModule, made-up data, and the real Trainer."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from esper_adapter_lightning import EsperCallback
from esper_core.api import WAIT, Action, Blend, Decision, Op

QUICK = {"gates": "permissive", "settings": {"lifecycle": {"ramp_epochs": 1}}, "blueprints": ["mlp"]}


class Eager:
    """Germinates wherever it may, and keeps whatever it may."""

    def reset(self, begun):
        pass

    def decide(self, situations):
        return [Decision(actions=[self._decide(situation.masks)]) for situation in situations]

    def _decide(self, mask):
        if mask.fossilize:
            return Action(op=Op.FOSSILIZE, slot=min(mask.fossilize))
        free = [slot for slot in mask.slots if mask.blueprints_for(slot)]
        if not free:
            return WAIT
        return Action(op=Op.GERMINATE, slot=free[0], blueprint="mlp", blend=Blend.LINEAR)


def data(samples, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 6, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] * inputs[:, 1] > 0).long())


def layers():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)
    )


class Shuffled(torch.utils.data.Sampler):
    """An order that follows from the epoch alone, so that a resumed run sees the same one."""

    def __init__(self, samples):
        self.samples, self.epoch = samples, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.samples

    def __iter__(self):
        yield from torch.randperm(self.samples, generator=torch.Generator().manual_seed(self.epoch)).tolist()


def module_of(base):
    class Module(base):
        """A LightningModule whose network is a submodule."""

        def __init__(self, schedule="cosine"):
            super().__init__()
            self.net = layers()
            self.schedule = schedule
            self.rates = []

        def forward(self, inputs):
            return self.net(inputs)

        def training_step(self, batch, index):
            inputs, targets = batch
            self.rates.append(self.optimizers().param_groups[0]["lr"])
            return cross_entropy(self(inputs), targets)

        def validation_step(self, batch, index):
            inputs, targets = batch
            self.log("val_loss", cross_entropy(self(inputs), targets))

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.02)
            if self.schedule is None:
                return optimizer
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.03, total_steps=200)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    return Module


Module = module_of(pl.LightningModule)


@pytest.fixture
def trainer(tmp_path):
    def make(callbacks=(), library=pl, **changes):
        defaults = {
            "max_epochs": 6,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
        }
        return library.Trainer(callbacks=list(callbacks), **defaults | changes)

    return make


@pytest.fixture
def growing():
    def make(kind=EsperCallback, **options):
        return kind(
            **{"sites": ["1", "4"], "loss": cross_entropy, "network": "net", "policy": Eager()} | QUICK | options
        )

    return make


@pytest.fixture
def fit():
    """Train a module on made-up data."""

    def run(trainer, module, **changes):
        train = DataLoader(data(96, 1), batch_size=16, sampler=Shuffled(96))
        trainer.fit(module, train, DataLoader(data(60, 2), batch_size=20), **changes)
        return module

    return run


@pytest.fixture
def module():
    return Module


@pytest.fixture
def modules():
    return module_of


class Reseeding(pl.Callback):
    """Lightning does not save the state of random numbers: let those of a step follow from its number."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        torch.manual_seed(1000 * trainer.current_epoch + batch_idx)


@pytest.fixture
def reseeding():
    return Reseeding
