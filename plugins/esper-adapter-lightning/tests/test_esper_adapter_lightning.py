"""The real Trainer of Lightning grows networks."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from esper_adapter_lightning.unified import EsperCallback as UnifiedCallback
from esper_core.api import EsperError, Stage

LONG = {"lifecycle": {"incubation_epochs": 20, "training_timeout_epochs": 30}}


def stages(callback):
    return {transition.target for outcome in callback.outcomes for transition in outcome.transitions}


def seed_groups(trainer):
    return [group["esper_seed"] for group in trainer.optimizers[0].param_groups if "esper_seed" in group]


def host_of(module):
    return {name: weight for name, weight in module.state_dict().items() if ".esper." not in name}


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name


def saving(folder, **options):
    return ModelCheckpoint(dirpath=folder, filename="{epoch}", save_top_k=-1, **options)


def test_a_network_grows_while_lightning_trains_it(trainer, module, growing, fit, tmp_path):
    callback = growing(sites=["1"])
    trained = trainer([callback], max_epochs=9)
    grown = fit(trained, module())
    assert {Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY, Stage.FOSSILIZED} <= stages(callback)
    assert seed_groups(trained) == ["1-0"]
    assert len(callback.outcomes) == 9
    evidence = callback.outcomes[-1].evidence
    assert evidence.validation.samples == 60
    assert evidence.train.loss < callback.outcomes[0].evidence.train.loss
    assert 0.5 < evidence.train.accuracy <= 1
    seed = next(seed for outcome in callback.outcomes for seed in outcome.evidence.seeds if seed.gradient_ratio)
    assert seed.gradients_finite
    inputs = torch.randn(5, 6)
    plain = callback.handle.export().eval()
    assert type(plain) is torch.nn.Sequential
    assert torch.allclose(plain(inputs), grown.eval()(inputs), atol=1e-6)
    torch.save(plain, tmp_path / "plain.pt")
    assert torch.equal(torch.load(tmp_path / "plain.pt", weights_only=False)(inputs), plain(inputs))


def test_a_network_grows_with_weights_in_bfloat16(trainer, module, growing, fit):
    callback = growing(sites=["1"])
    grown = fit(trainer([callback], max_epochs=9, precision="bf16-true"), module())
    assert {Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY} <= stages(callback)
    assert {parameter.dtype for parameter in grown.parameters()} == {torch.bfloat16}


def test_evidence_is_measured_on_what_lightning_validates_on(trainer, module, growing, fit):
    callback = growing()
    trained = trainer([callback], max_epochs=3, limit_val_batches=2)
    fit(trained, module())
    evidence = callback.outcomes[-1].evidence
    assert evidence.validation.samples == 40
    assert evidence.validation.loss == pytest.approx(float(trained.callback_metrics["val_loss"]), rel=1e-5)


def test_the_learning_rate_goes_on_as_without_seeds(trainer, module, growing, fit):
    alone = fit(trainer(), module())
    trained = trainer([growing()])
    grown = fit(trained, module())
    assert seed_groups(trained)
    assert grown.rates == alone.rates


@pytest.mark.parametrize("changes", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.05}], ids=str)
def test_a_host_with_seeds_in_training_is_the_host_without_them(trainer, module, growing, fit, reseeding, changes):
    alone = fit(trainer([reseeding()], **changes), module())
    callback = growing(settings=LONG)
    trained = trainer([reseeding(), callback], **changes)
    grown = fit(trained, module())
    assert [slot.stage for slot in callback.handle.slots] == [Stage.TRAINING, Stage.TRAINING]
    assert_equal(host_of(grown), host_of(alone))
    assert trained.gradient_clip_val == changes.get("gradient_clip_val")
    gains = [weight for name, weight in grown.state_dict().items() if "gain" in name]
    assert len(gains) == 2
    assert all((gain != 0).any() for gain in gains)


@pytest.mark.parametrize("when", [{"monitor": "val_loss"}, {"save_on_train_epoch_end": True}], ids=str)
def test_a_resumed_training_is_the_one_that_was_not_interrupted(
    trainer, module, growing, fit, reseeding, tmp_path, when
):
    saved = {"enable_checkpointing": True}
    whole_callback, resumed_callback = growing(), growing()
    whole = trainer([reseeding(), whole_callback, saving(tmp_path, **when)], **saved)
    fit(whole, module())
    checkpoint = tmp_path / "epoch=2.ckpt"
    assert any(".esper." in name for name in torch.load(checkpoint, weights_only=True)["state_dict"])
    resumed = trainer([reseeding(), resumed_callback], **saved)
    fit(resumed, module(), ckpt_path=checkpoint)
    assert len(resumed_callback.outcomes) == 3
    assert resumed.global_step == whole.global_step
    assert_equal(resumed.lightning_module.state_dict(), whole.lightning_module.state_dict())
    assert seed_groups(resumed) == seed_groups(whole) != []


def test_an_epoch_that_was_interrupted_goes_on_in_the_middle(trainer, module, growing, fit, reseeding, tmp_path):
    saved = {"enable_checkpointing": True}
    every = ModelCheckpoint(dirpath=tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=4)
    whole_callback, callback = growing(), growing()
    fit(trainer([reseeding(), whole_callback, every], **saved), module())
    resumed = trainer([reseeding(), callback], **saved)
    fit(resumed, module(), ckpt_path=tmp_path / "step=16.ckpt")
    assert [outcome.evidence.epoch for outcome in callback.outcomes] == [2, 3, 4, 5]
    assert seed_groups(resumed) == ["1-0", "4-0"]
    assert resumed.global_step == 36


def test_a_checkpoint_without_growth_is_a_beginning(trainer, module, growing, fit, tmp_path):
    fit(trainer([saving(tmp_path)], max_epochs=2, enable_checkpointing=True), module())
    callback = growing()
    fit(trainer([callback], max_epochs=4), module(), ckpt_path=tmp_path / "epoch=1.ckpt")
    assert Stage.TRAINING in stages(callback)
    assert len(callback.outcomes) == 2


class Own(pl.LightningModule):
    """The network is the module itself, and its batches are mappings."""

    def __init__(self):
        super().__init__()
        self.block, self.head = torch.nn.Linear(6, 8), torch.nn.Linear(8, 2)

    def forward(self, inputs, scale):
        return self.head(torch.relu(self.block(inputs * scale)))

    def training_step(self, batch, index):
        return cross_entropy(self(batch["x"], scale=batch["scale"]), batch["y"])

    def validation_step(self, batch, index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def mappings():
    inputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    rows = [{"x": x, "scale": torch.ones(1), "y": (x[0] > 0).long()} for x in inputs]
    return DataLoader(rows, batch_size=10)


def unpack(batch):
    return {"inputs": batch["x"], "scale": batch["scale"]}, batch["y"]


def test_a_module_may_be_the_network_and_take_several_inputs(trainer, growing):
    callback = growing(network="", sites=["block"], unpack=unpack)
    trained = trainer([callback])
    trained.fit(Own(), mappings(), mappings())
    assert {Stage.TRAINING, Stage.BLENDING} <= stages(callback)
    assert "esper.block.seed.gain.gain" in trained.lightning_module.state_dict()
    assert callback.outcomes[-1].evidence.validation.samples == 40


def test_a_batch_that_is_no_pair_must_be_unpacked(trainer, growing):
    with pytest.raises(EsperError, match="not a pair") as caught:
        trainer([growing(network="", sites=["block"])], num_sanity_val_steps=0).fit(Own(), mappings(), mappings())
    assert caught.value.code == "E302"


def test_without_validation_nothing_is_measured(trainer, module, growing):
    callback = growing()
    loader = DataLoader(TensorDataset(torch.randn(32, 6), torch.randint(0, 2, (32,))), batch_size=16)
    with pytest.warns(UserWarning, match="nothing is measured"):
        trainer([callback], max_epochs=2).fit(module(), loader)
    assert [outcome.evidence.epoch for outcome in callback.outcomes] == [0, 1]
    assert callback.outcomes[0].evidence.validation.loss != callback.outcomes[0].evidence.validation.loss


def test_validating_by_hand_is_none_of_its_business(trainer, module, growing, fit):
    callback = growing()
    trained = trainer([callback], max_epochs=2)
    grown = fit(trained, module())
    trained.validate(
        grown, DataLoader(TensorDataset(torch.randn(8, 6), torch.zeros(8, dtype=torch.long))), verbose=False
    )
    assert len(callback.outcomes) == 2


def test_the_other_package_has_a_callback_of_its_own(trainer, modules, growing, fit):
    import lightning.pytorch as unified

    callback = growing(kind=UnifiedCallback)
    fit(trainer([callback], library=unified), modules(unified.LightningModule)())
    assert {Stage.TRAINING, Stage.BLENDING} <= stages(callback)


class Sharding(SingleDeviceStrategy):
    """A strategy of somebody's own."""


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"val_check_interval": 0.5}, "this validation"),
        ({"check_val_every_n_epoch": 2}, "this validation"),
        ({"strategy": Sharding("cpu")}, "the strategy Sharding"),
    ],
    ids=lambda it: it if isinstance(it, str) else next(iter(it)),
)
def test_what_cannot_be_grown_with_is_refused(trainer, module, growing, fit, changes, what):
    with pytest.raises(EsperError, match=what) as caught:
        fit(trainer([growing()], **changes), module())
    assert caught.value.code == "E402"


class Manual(Own):
    automatic_optimization = False


class TwoOptimizers(Own):
    def configure_optimizers(self):
        parts = (self.block, self.head)
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in parts]


class TwoSchedulers(Own):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1) for _ in range(2)]


def test_what_is_optimized_in_other_ways_is_refused(trainer, growing):
    for kind, what in [(Manual, "manual"), (TwoSchedulers, "several schedulers")]:
        with pytest.raises(EsperError, match=what):
            trainer([growing(network="", sites=["block"], unpack=unpack)]).fit(kind(), mappings(), mappings())
    with pytest.raises((EsperError, RuntimeError), match="optimizer"):
        trainer([growing(network="", sites=["block"], unpack=unpack)]).fit(TwoOptimizers(), mappings(), mappings())


def test_a_network_that_is_not_there_or_not_called_is_named(trainer, module, growing, fit):
    with pytest.raises(EsperError, match='no submodule "nets"'):
        fit(trainer([growing(network="nets")]), module())

    class Silent(module):
        def training_step(self, batch, index):
            h = batch[0]
            for name in "012345":
                h = self.net.get_submodule(name)(h)
            return cross_entropy(h, batch[1])

    with pytest.raises(EsperError, match="has not called the network"):
        fit(trainer([growing()]), Silent())


def test_a_second_fit_of_what_has_grown_is_refused(trainer, module, growing, fit):
    trained = trainer([growing()], max_epochs=1)
    grown = fit(trained, module())
    with pytest.raises(EsperError, match="grown by this callback already"):
        fit(trained, grown)


def test_a_training_without_an_end_needs_its_epochs(trainer, module, growing, fit):
    with pytest.raises(EsperError, match="how many epochs"):
        fit(trainer([growing()], max_epochs=-1, max_steps=20), module())
    callback = growing(epochs=4)
    fit(trainer([callback], max_epochs=-1, max_steps=20), module())
    assert callback.handle.epochs == 4


def test_seeds_that_came_during_validation_train_in_training_mode(trainer, module, growing, fit):
    callback, modes = growing(), []

    class Watching(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            modes.extend(part.training for part in callback.handle.model.modules())

    fit(trainer([callback, Watching()], max_epochs=4), module())
    assert all(modes)
    assert [slot.stage for slot in callback.handle.slots] != [Stage.DORMANT, Stage.DORMANT]


TOGETHER = """
    import sys
    from importlib.util import module_from_spec, spec_from_file_location

    import pytorch_lightning as pl
    import torch
    import torch.distributed as dist
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader

    spec = spec_from_file_location("shared", sys.argv[1])
    shared = module_from_spec(spec)
    spec.loader.exec_module(shared)


    def fitted(checkpoint=None):
        options = {"sites": ["1", "4"], "loss": cross_entropy, "network": "net", "policy": shared.Eager()}
        callback, module = shared.EsperCallback(**options, **shared.QUICK), shared.Module()
        saving = pl.callbacks.ModelCheckpoint(sys.argv[2], filename="{epoch}", save_top_k=-1)
        trainer = pl.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=6, logger=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[callback, saving, shared.Reseeding()], gradient_clip_val=0.5,
        )
        train = DataLoader(shared.data(96, 1), batch_size=8)
        trainer.fit(module, train, DataLoader(shared.data(60, 2), batch_size=15), ckpt_path=checkpoint)
        assert type(callback.handle).__name__ == "DistributedHandle"
        assert callback.outcomes[-1].evidence.validation.samples == 60
        return {name: it.clone() for name, it in module.state_dict().items()}


    weights = fitted()
    assert any(".seed." in name for name in weights), "nothing has grown"
    again = fitted(f"{sys.argv[2]}/epoch=2.ckpt")
    assert all(torch.equal(weights[name], it) for name, it in again.items()), "resumed it ends otherwise"
    for name, tensor in weights.items():
        other = tensor.clone()
        dist.broadcast(other, 0)
        assert torch.equal(other, tensor), name
    sys.stdout.write(f"alike in rank {dist.get_rank()}\\n")  # in one piece: the other process writes too
"""


@pytest.mark.slow
def test_two_processes_grow_alike_and_go_on_from_a_checkpoint(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(dedent(TOGETHER))
    torchrun = Path(sys.executable).with_name("torchrun")
    shared = Path(__file__).with_name("conftest.py")
    words = [torchrun, "--standalone", "--nproc-per-node", "2", script, shared, tmp_path / "out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "alike in rank 0" in done.stdout
    assert "alike in rank 1" in done.stdout
