"""The real Trainer grows models of transformers."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, TrainerCallback

from esper_adapter_transformers import EsperCallback
from esper_core.api import EsperError, SiteRequest, Stage

LONG = {"lifecycle": {"incubation_epochs": 20, "training_timeout_epochs": 30}}


def stages(callback):
    return {transition.target for outcome in callback.outcomes for transition in outcome.transitions}


def seed_groups(trainer):
    return [group["esper_seed"] for group in trainer.optimizer.param_groups if "esper_seed" in group]


def rates(trainer):
    return [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]


def host_of(model):
    return {name: weight for name, weight in model.state_dict().items() if not name.startswith("esper.")}


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name


def test_gpt2_grows_while_the_trainer_trains_it(growing, trainer):
    trained, callback = growing(num_train_epochs=9)
    result = trained.train()
    assert {Stage.TRAINING, Stage.BLENDING, Stage.PROBATIONARY, Stage.FOSSILIZED} <= stages(callback)
    assert seed_groups(trained) == ["transformer_h_0_mlp-0", "transformer_h_1_mlp-0"]
    assert len(callback.outcomes) == 9
    first, last = callback.outcomes[0].evidence, callback.outcomes[-1].evidence
    assert last.validation.loss < first.validation.loss
    assert last.validation.samples == 32
    assert 0.5 < last.train.accuracy <= 1
    assert last.train.loss == pytest.approx(result.metrics["train_loss"], rel=0.5)
    tokens = trained.eval_dataset[0]["input_ids"][None]
    plain = callback.handle.export().eval()
    assert not hasattr(plain, "esper")
    assert torch.allclose(plain(tokens).logits, trained.model.eval()(tokens).logits, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "cosine", "reduce_lr_on_plateau"])
def test_the_learning_rate_goes_on_as_without_seeds(growing, trainer, kind):
    changes = {"lr_scheduler_type": kind, "warmup_steps": 4, "num_train_epochs": 4}
    alone = trainer(**changes)
    alone.train()
    grown, _ = growing(**changes)
    grown.train()
    assert seed_groups(grown)
    assert rates(grown) == rates(alone)


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_host_with_seeds_in_training_is_the_host_without_them(growing, trainer, accumulation):
    changes = {"num_train_epochs": 4, "gradient_accumulation_steps": accumulation, "max_grad_norm": 0.05}
    changes |= {"per_device_train_batch_size": 4}
    alone = trainer(**changes)
    alone.train()
    grown, callback = growing({"settings": LONG}, **changes)
    grown.train()
    assert [slot.stage for slot in callback.handle.slots] == [Stage.TRAINING, Stage.TRAINING]
    assert_equal(host_of(grown.model), host_of(alone.model))
    assert grown.args.max_grad_norm == 0.05
    assert all((weight != 0).any() for name, weight in grown.model.state_dict().items() if "gain" in name)


class Poison(TrainerCallback):
    """Makes every gradient of every seed NaN."""

    def __init__(self, callback):
        self.callback, self.poisoned = callback, set()

    def on_step_begin(self, args, state, control, **kwargs):
        if self.callback.handle.begun:
            for slot in self.callback.handle.growth.slot_set.slots:
                for parameter in self.callback.handle.growth.slot_set.seed_parameters(slot):
                    if parameter not in self.poisoned:
                        self.poisoned.add(parameter)
                        parameter.register_hook(lambda gradient: gradient * float("nan"))


@pytest.mark.parametrize("max_grad_norm", [0.05, 0.0])
def test_gradients_of_seeds_that_are_not_finite_stay_theirs(growing, trainer, max_grad_norm):
    changes = {"num_train_epochs": 3, "max_grad_norm": max_grad_norm}
    alone = trainer(**changes)
    alone.train()
    grown, callback = growing({"settings": LONG}, **changes)
    grown.add_callback(poison := Poison(callback))
    grown.train()
    assert poison.poisoned
    assert_equal(host_of(grown.model), host_of(alone.model))


@pytest.mark.slow
def test_a_resumed_training_is_the_one_that_was_not_interrupted(growing, tmp_path):
    whole, _ = growing(save_strategy="epoch", output_dir=tmp_path / "whole")
    whole.train()
    checkpoint = tmp_path / "whole" / "checkpoint-18"
    resumed, callback = growing(save_strategy="epoch", output_dir=tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=checkpoint)
    assert len(callback.outcomes) == 3
    assert resumed.state.global_step == whole.state.global_step
    assert_equal(dict(resumed.model.state_dict()), dict(whole.model.state_dict()))
    assert seed_groups(resumed) == seed_groups(whole)
    assert rates(resumed) == rates(whole)


def test_the_checkpoint_that_is_resumed_from_holds_live_seeds(growing, tmp_path):
    interrupted, callback = growing(save_strategy="epoch", num_train_epochs=3)
    interrupted.train()
    assert {slot.stage for slot in callback.handle.slots} == {Stage.BLENDING}


@pytest.mark.slow
def test_an_epoch_that_was_interrupted_goes_on_in_the_middle(growing, tmp_path):
    changes = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": 5}
    whole, _ = growing(output_dir=tmp_path / "whole", **changes)
    whole.train()
    resumed, callback = growing(output_dir=tmp_path / "resumed", **changes)
    resumed.train(resume_from_checkpoint=tmp_path / "whole" / "checkpoint-16")
    assert len(callback.outcomes) == 3
    assert_equal(dict(resumed.model.state_dict()), dict(whole.model.state_dict()))


def test_only_weights_are_enough_to_go_on(growing, tmp_path):
    whole, _ = growing(save_strategy="epoch", save_only_model=True, num_train_epochs=3)
    whole.train()
    resumed, callback = growing(num_train_epochs=4, output_dir=tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=whole.state.best_model_checkpoint or tmp_path / "out" / "checkpoint-18")
    assert len(callback.outcomes) == 1
    assert seed_groups(resumed) == seed_groups(whole)


@pytest.mark.slow
def test_growing_may_begin_with_a_checkpoint_that_knows_nothing_of_it(growing, trainer, tmp_path):
    before = trainer(save_strategy="epoch", num_train_epochs=2)
    before.train()
    grown, callback = growing(save_strategy="epoch", num_train_epochs=4)
    grown.train(resume_from_checkpoint=tmp_path / "out" / "checkpoint-12")
    assert len(callback.outcomes) == 2
    again, callback = growing(num_train_epochs=5)
    again.train(resume_from_checkpoint=tmp_path / "out" / "checkpoint-24")
    assert len(callback.outcomes) == 1
    assert len(seed_groups(again)) == 2


def test_the_best_model_is_loaded_with_what_had_grown_then(growing):
    trained, callback = growing(
        save_strategy="epoch",
        num_train_epochs=4,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,  # so that it is the first
    )
    trained.train()
    assert trained.state.best_model_checkpoint.endswith("checkpoint-6")
    assert [slot.stage for slot in callback.handle.slots] == [Stage.TRAINING, Stage.TRAINING]
    loss = trained.evaluate()["eval_loss"]
    first = next(entry["eval_loss"] for entry in trained.state.log_history if "eval_loss" in entry)
    assert loss == pytest.approx(first, rel=1e-6)
    assert callback.handle.export(live="remove")


def test_what_is_exported_can_be_saved_and_loaded_by_transformers(growing, tmp_path):
    trained, callback = growing(num_train_epochs=2)
    trained.train()
    plain = callback.handle.export(live="remove").eval()
    plain.save_pretrained(tmp_path / "plain")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "plain").eval()
    tokens = trained.eval_dataset[0]["input_ids"][None]
    assert torch.equal(loaded(tokens).logits, plain(tokens).logits)


@pytest.mark.slow
def test_a_classifier_of_documents_of_several_lengths_grows(classifying):
    trained, callback = classifying(
        {"sites": SiteRequest(path="bert.encoder.layer.*", mask="attention_mask")}, num_train_epochs=9
    )
    trained.train()
    assert {Stage.BLENDING, Stage.PROBATIONARY} <= stages(callback)
    evidence = callback.outcomes[-1].evidence
    assert evidence.validation.samples == 26
    metrics = trained.evaluate()
    assert evidence.validation.loss == pytest.approx(metrics["eval_loss"], rel=1e-4)
    seed = next(seed for seed in evidence.seeds if seed.contribution is not None)
    assert seed.contribution.count == 26


def test_the_heuristic_finds_blocks_and_policies_by_itself(growing):
    options = {"sites": None, "policy": "heuristic"}
    trained, callback = growing(options, learning_rate=1e-5, num_train_epochs=5)
    trained.train()
    assert [(site.path, site.causal) for site in callback.handle.growth.sites] == [
        ("transformer.h.0", True),
        ("transformer.h.1", True),
    ]
    assert Stage.TRAINING in stages(callback)


def test_an_epoch_without_evaluation_is_an_epoch_without_evidence(growing):
    trained, callback = growing(eval_delay=2, num_train_epochs=3)
    with pytest.warns(UserWarning, match="nothing is measured"):
        trained.train()
    losses = [outcome.evidence.validation.loss for outcome in callback.outcomes]
    assert [loss == loss for loss in losses] == [False, True, True]
    assert all(outcome.evidence.train.accuracy > 0 for outcome in callback.outcomes)


def test_other_evaluations_are_none_of_its_business(growing):
    trained, callback = growing(num_train_epochs=2, eval_on_start=True)
    trained.train()
    trained.evaluate()
    assert len(callback.outcomes) == 2


def test_of_several_evaluation_data_sets_the_first_counts(growing):
    trained, callback = growing(num_train_epochs=2)
    trained.eval_dataset = {"one": trained.eval_dataset[:5], "other": trained.eval_dataset[5:]}
    trained.train()
    assert [outcome.evidence.validation.samples for outcome in callback.outcomes] == [5, 5]


def test_a_second_training_of_what_has_grown_is_refused(growing):
    trained, _ = growing(num_train_epochs=1)
    trained.train()
    with pytest.raises(EsperError, match="grown by this Trainer already"):
        trained.train()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"eval_strategy": "steps", "eval_steps": 2}, "this evaluation"),
        ({"eval_strategy": "no"}, "this evaluation"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size"),
        ({"restore_callback_states_from_checkpoint": True}, "restore_callback_states"),
        ({"label_smoothing_factor": 0.1}, "label smoothing"),
    ],
)
def test_what_cannot_be_grown_with_is_refused(growing, changes, what):
    with pytest.raises(EsperError, match=what) as caught:
        growing(**changes)
    assert caught.value.code == "E402"


def test_several_devices_in_one_process_are_refused(trainer, monkeypatch):
    made = trainer()
    monkeypatch.setattr(type(made.args), "n_gpu", 2)
    with pytest.raises(EsperError, match="DataParallel"):
        EsperCallback(made)


TOGETHER = """
    import sys
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    import torch
    import torch.distributed as dist
    from transformers import Trainer, TrainingArguments

    spec = spec_from_file_location("shared", sys.argv[1])
    shared = module_from_spec(spec)
    spec.loader.exec_module(shared)
    folder = Path(sys.argv[2])


    def begun():
        arguments = TrainingArguments(
            output_dir=folder, num_train_epochs=6, per_device_train_batch_size=8, learning_rate=0.01, use_cpu=True,
            eval_strategy="epoch", save_strategy="epoch", report_to="none", disable_tqdm=True, ddp_backend="gloo",
        )
        data = {"train_dataset": shared.sequences(48, 1), "eval_dataset": shared.sequences(32, 2)}
        trainer = Trainer(model=shared.gpt2(), args=arguments, **data)
        site = shared.SiteRequest(path="transformer.h.*.mlp", causal=True)
        return trainer, shared.EsperCallback(trainer, sites=site, policy=shared.Eager(), **shared.QUICK)


    weights = []
    for resumed in (False, True):
        trainer, callback = begun()
        trainer.train(resume_from_checkpoint=str(folder / "checkpoint-9") if resumed else None)
        assert type(trainer.model_wrapped).__name__ == "DistributedDataParallel"
        assert type(callback.handle).__name__ == "DistributedHandle"
        weights.append({name: it.clone() for name, it in trainer.model.state_dict().items()})
        assert any(".seed." in name for name in weights[-1]), "nothing has grown"
        assert callback.outcomes[-1].evidence.validation.samples == 32
    assert all(torch.equal(weights[0][name], it) for name, it in weights[1].items()), "resumed it ends otherwise"
    for name, tensor in weights[0].items():
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


def test_a_misspelt_option_is_an_error(growing):
    trained, _ = growing({"polycy": "heuristic"})
    with pytest.raises(TypeError, match="polycy"):
        trained.train()


def test_evaluation_data_without_labels_are_an_error(growing):
    trained, _ = growing(num_train_epochs=1)
    trained.label_names = []
    trained.eval_dataset = [{"input_ids": row["input_ids"]} for row in trained.eval_dataset]
    with pytest.raises(EsperError, match='no "labels"'):
        trained.train()


class Own(nn.Module):
    """A model of nobody's library."""

    def __init__(self):
        super().__init__()
        self.embed, self.block, self.head = nn.Embedding(32, 8), nn.Linear(8, 8), nn.Linear(8, 32)

    def forward(self, input_ids, labels=None):
        logits = self.head(torch.relu(self.block(self.embed(input_ids))))
        loss = None if labels is None else nn.functional.cross_entropy(logits.transpose(1, 2), labels)
        return (logits,) if loss is None else (loss, logits)


def test_a_model_of_ones_own_names_its_loss(trainer):
    made = trainer(num_train_epochs=3, label_names=["labels"])
    made.model = made.model_wrapped = Own()
    made.model_accepts_loss_kwargs = False
    with pytest.raises(EsperError, match=r"not known how Own computes the loss") as caught:
        EsperCallback(made, sites=["block"])
    assert caught.value.code == "E202"

    def loss(logits, labels):
        return nn.functional.cross_entropy(logits.transpose(1, 2), labels)

    callback = EsperCallback(made, sites=["block"], loss=loss)
    made.train()
    evidence = callback.outcomes[-1].evidence
    assert evidence.validation.loss == pytest.approx(made.evaluate()["eval_loss"], rel=1e-4)
    assert 0.0 <= evidence.train.accuracy <= 1.0  # the loss tells where the classes are
