"""The teacher's data: stated, disjoint, reproducible, and labelled by the teacher and nobody else."""

import json
import math
import subprocess
import sys

import attrs
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from esper_core.api import EsperError, Task, TaskKind, plain
from esper_core.specs import TaskSpec
from esper_task_teacher.config import TeacherConfig
from esper_task_teacher.drawing import build_examiner, draw_images, stream
from esper_task_teacher.plugin import esper_tasks
from esper_task_teacher.task import TeacherTask

SMALL = {"train_samples": 300, "validation_samples": 100, "test_samples": 200}


def task(**options) -> TeacherTask:
    return TeacherTask(TeacherConfig(**{**SMALL, **options}))


@pytest.fixture(scope="module")
def plain_task() -> TeacherTask:
    return task()


def test_the_descriptor_names_factory_options_and_a_host_with_the_teachers_blocks():
    (spec,) = esper_tasks()
    assert (spec.name, spec.kind, spec.host) == ("teacher", TaskSpec.kind, "cnn")
    assert spec.factory == "esper_task_teacher.task:TeacherTask"
    assert spec.config == "esper_task_teacher.config:TeacherConfig"
    assert tuple(spec.host_options["widths"]) == TeacherConfig().widths


def test_descriptor_and_options_import_nothing_heavy():
    code = "import sys, esper_task_teacher.plugin, esper_task_teacher.config; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {"torch", "numpy"}.isdisjoint(modules)


def test_it_follows_the_protocol(plain_task):
    assert isinstance(plain_task, Task)
    assert plain_task.shape.kind is TaskKind.IMAGES
    assert plain_task.shape.input_shape == (1, 8, 8)
    assert plain_task.random_guess_loss == pytest.approx(math.log(5))
    splits = plain_task.load()
    for split, size in ((splits.train, 300), (splits.validation, 100), (splits.test, 200)):
        assert split.inputs.shape == (size, 1, 8, 8)
        assert (split.inputs.dtype, split.targets.dtype) == (torch.float32, torch.int64)
        assert split.targets.shape == (size,)
        assert split.inputs.isfinite().all()
    assert plain_task.load() is splits


def test_shapes_follow_the_options():
    split = task(channels=3, size=12, classes=3, widths=(4, 4, 6), updates=(0, 2, 1)).load().train
    assert split.inputs.shape == (300, 3, 12, 12)
    assert split.targets.unique().tolist() == [0, 1, 2]


def test_no_image_is_in_two_splits_or_twice_in_one(plain_task):
    splits = plain_task.load()
    every = [row.numpy().tobytes() for part in (splits.train, splits.validation, splits.test) for row in part.inputs]
    assert len(set(every)) == len(every) == 600


def test_labels_are_the_teachers(plain_task):
    config = TeacherConfig(**SMALL)
    examiner = build_examiner(config)
    for split in (plain_task.load().train, plain_task.load().test):
        logits = examiner.teacher(split.inputs.double())
        assert torch.equal(logits.argmax(dim=1), split.targets)
        largest = logits.topk(2, dim=1).values
        assert bool((largest[:, 0] - largest[:, 1] >= examiner.thresholds[split.targets]).all())


def test_the_clearest_share_of_images_is_shown():
    for share in (0.25, 1.0):
        config = TeacherConfig(clear_share=share)
        examiner = build_examiner(config)
        random = stream(config, "probe")
        sure = torch.cat([examiner.label(draw_images(config, random))[1] for _ in range(6)]).double().mean()
        assert float(sure) == pytest.approx(share, abs=0.03)


def test_every_class_occurs_often_enough():
    for data_seed in range(3):
        counts = task(data_seed=data_seed).load().train.targets.bincount(minlength=5) / 300
        assert float(counts.min()) > 0.12
        assert float(counts.max()) < 0.3


def test_more_classes_than_the_teacher_tells_apart_are_refused():
    with pytest.raises(EsperError, match="never chooses") as caught:
        task(widths=(2, 2), classes=100).load()
    assert caught.value.code == "E202"


def test_images_are_grids_of_standard_normal_values_with_their_corners_in_the_corners():
    config = TeacherConfig(size=10, grid=4)
    random = stream(config, "images")
    corners = torch.cat([draw_images(config, random) for _ in range(8)])[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert float(corners.mean()) == pytest.approx(0, abs=0.03)
    assert float(corners.std()) == pytest.approx(1, abs=0.03)


def test_interpolation_agrees_with_torch():
    config = TeacherConfig(size=11, grid=4, channels=2)
    images = draw_images(config, stream(config, "x"))
    grids = torch.from_numpy(stream(config, "x").standard_normal((500, 2, 4, 4)))
    expected = F.interpolate(grids, size=(11, 11), mode="bilinear", align_corners=True)
    assert torch.allclose(images, expected.float(), atol=1e-6)


def test_the_same_options_give_the_same_data_whatever_else_is_going_on(plain_task):
    torch.manual_seed(1)
    np.random.seed(1)
    again = task()
    state = torch.get_rng_state()
    assert again.identity == plain_task.identity
    assert torch.equal(torch.get_rng_state(), state)


def test_another_process_with_other_threads_gives_the_same_data(plain_task):
    code = (
        "import json, torch; torch.set_num_threads(2)\n"
        "from esper_task_teacher.task import TeacherTask; from esper_task_teacher.config import TeacherConfig\n"
        f"print(json.dumps(TeacherTask(TeacherConfig(**{SMALL!r})).identity))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(plain_task.identity))


def test_a_split_depends_on_no_other_split_and_grows_at_its_end(plain_task):
    before, after = plain_task.load(), task(train_samples=900, validation_samples=20).load()
    assert torch.equal(before.test.inputs, after.test.inputs)
    assert torch.equal(before.validation.inputs[:20], after.validation.inputs)
    assert torch.equal(before.train.inputs, after.train.inputs[:300])
    assert torch.equal(before.train.targets, after.train.targets[:300])


#: For every option, another value than the default.
OTHER = {
    "widths": (4, 6),
    "updates": (1, 0),
    "strength": 0.5,
    "classes": 4,
    "channels": 2,
    "size": 12,
    "grid": 3,
    "clear_share": 0.9,
    "label_noise": 0.5,
    "train_samples": 200,
    "validation_samples": 50,
    "test_samples": 150,
    "data_seed": 1,
}


@pytest.mark.parametrize("option", [field.name for field in attrs.fields(TeacherConfig)])
def test_every_option_changes_the_data_and_is_in_the_identity(plain_task, option):
    changed = task(**{option: OTHER[option]})
    assert changed.identity["options"] == {**plain_task.identity["options"], option: plain(OTHER[option])}
    assert changed.identity["splits"] != plain_task.identity["splits"]


def test_the_identity_says_what_is_needed(plain_task):
    assert plain_task.identity["name"] == "teacher"
    assert plain_task.identity["needed"] == {"block0": 1, "block1": 1}
    assert task(updates=(0, 2)).identity["needed"] == {"block0": 0, "block1": 2}
    assert plain_task.identity["splits"]["test"]["samples"] == 200


def test_noise_spares_the_images_and_bounds_what_can_be_reached(plain_task):
    noisy = task(label_noise=0.5, test_samples=4000)
    clean = task(test_samples=4000)
    assert torch.equal(noisy.load().test.inputs, clean.load().test.inputs)
    agree = (noisy.load().test.targets == clean.load().test.targets).double().mean()
    assert noisy.best_accuracy == pytest.approx(0.6)
    assert float(agree) == pytest.approx(noisy.best_accuracy, abs=0.03)
    assert plain_task.best_accuracy == 1.0
    assert noisy.identity["best_accuracy"] == noisy.best_accuracy


def test_losses_and_hits_are_per_sample(plain_task):
    outputs = torch.randn(6, 5, requires_grad=True)
    targets = torch.tensor([0, 3, 4, 1, 1, 2])
    losses = plain_task.losses(outputs, targets)
    expected = torch.stack([-row.log_softmax(0)[target] for row, target in zip(outputs, targets, strict=True)])
    assert torch.allclose(losses, expected, atol=1e-6)
    losses.sum().backward()
    assert outputs.grad is not None
    hits = plain_task.correct(F.one_hot(torch.tensor([0, 3, 3, 1, 2, 2]), 5).float(), targets)
    assert hits.tolist() == [1.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    assert torch.allclose(plain_task.losses(torch.zeros(6, 5), targets), torch.full((6,), plain_task.random_guess_loss))


def test_batches_are_left_as_they_are(plain_task):
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(4, 1, 8, 8)
    assert plain_task.augment(batch, generator) is batch
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"widths": (4, 5)}, "even"),
        ({"widths": ()}, "widths"),
        ({"updates": (1,)}, "updates"),
        ({"updates": (1, -1)}, "updates"),
        ({"strength": 1.0}, "strength"),
        ({"strength": 0.0}, "strength"),
        ({"classes": 1}, "classes"),
        ({"classes": 101}, "classes"),
        ({"channels": 0}, "channels"),
        ({"size": 3}, "size"),
        ({"grid": 1}, "grid"),
        ({"clear_share": 0.0}, "clear_share"),
        ({"label_noise": 1.5}, "label_noise"),
        ({"label_noise": -0.5}, "label_noise"),
        ({"train_samples": 0}, "train_samples"),
        ({"data_seed": -1}, "data_seed"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        TeacherConfig(**wrong)
