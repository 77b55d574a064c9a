"""The teacher's claim: a host with its blocks lacks one seed per slot, and with it lacks nothing."""

import pytest
import torch

from esper_blueprint_conv_light.config import ConvLightConfig
from esper_blueprint_conv_light.module import ConvLight
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_host_cnn.cnn import build
from esper_host_cnn.config import CnnConfig
from esper_task_teacher.config import TeacherConfig
from esper_task_teacher.drawing import build_examiner
from esper_task_teacher.task import TeacherTask


@pytest.fixture(scope="module")
def student():
    """The task, its default host with the teacher's weights, and a conv-light for each slot with those of an update."""
    config = TeacherConfig()
    task, teacher = TeacherTask(config), build_examiner(config).teacher
    built = build(CnnConfig(widths=config.widths), task.shape)
    host, seeds = built.module.eval(), {}
    for index, (site, block) in enumerate(zip(built.sites, teacher.blocks, strict=True)):
        host.blocks[index].conv.load_state_dict(block.conv.state_dict())
        host.blocks[index].norm.load_state_dict(block.norm.state_dict())
        side, width = config.size // 2 ** (index + 1), config.widths[index]
        place = Site(
            id=site.id, path=site.path, layout=Layout.NCHW, width=width, sample_shape=(width, side, side), order=index
        )
        seeds[site.path] = ConvLight(place, ConvLightConfig()).eval()
        seeds[site.path].load_state_dict(block.updates[0].state_dict())
    host.head.load_state_dict(teacher.head.state_dict())
    return task, host, seeds


def accuracy(task, host, seeds):
    handles = [
        host.get_submodule(path).register_forward_hook(lambda _, __, h, seed=seed: h + seed(h))
        for path, seed in seeds.items()
    ]
    test = task.load().test
    with torch.no_grad():
        correct = task.correct(host(test.inputs), test.targets)
    for handle in handles:
        handle.remove()
    return float(correct.mean())


def test_one_conv_light_in_each_slot_is_the_right_answer(student):
    task, host, seeds = student
    assert accuracy(task, host, seeds) == task.best_accuracy == 1.0


def test_less_is_not_enough(student):
    task, host, seeds = student
    first, last = seeds
    assert accuracy(task, host, {}) < 0.8
    assert accuracy(task, host, {first: seeds[first]}) < 0.8
    assert accuracy(task, host, {last: seeds[last]}) < 0.95
