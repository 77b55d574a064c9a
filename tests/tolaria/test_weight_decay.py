"""What weight decay pulls at: matrices, not norms, biases and gains; and states that were saved before that was so."""

import pytest
import torch
from attrs import evolve

from esper_core.kasmina.groups import host_groups, seed_ids
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.stages import Blend
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.host import GrowingHost
from esper_core.tolaria.state import capture, restore


def host_with(plan, **options):
    return GrowingHost(evolve(plan, optimizer=OptimizerConfig(lr=0.05, **options)))


def train(host, epochs, *, germinate_in=0):
    for epoch in range(epochs):
        if epoch == germinate_in:
            host.apply(Action(op=Op.GERMINATE, slot="block1", blueprint="tanh", blend=Blend.LINEAR))
        host.epoch(None)
    return host


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_only_matrices_and_kernels_decay(plan, name):
    host = host_with(plan, name=name, weight_decay=0.1)
    names = {id(parameter): key for key, parameter in host.model.named_parameters()}
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in host_groups(host.optimizer))
    assert [group["weight_decay"] for group in host_groups(host.optimizer)] == [0.1, 0.0]
    assert decayed == {"blocks.0.0.weight", "blocks.1.0.weight", "head.weight"}
    assert decayed | spared == set(names.values())


def test_vectors_decay_where_that_is_asked_for(plan):
    (group,) = host_groups(host_with(plan, decay_vectors=True).optimizer)
    assert len(group["params"]) == len([*host_with(plan).model.parameters()])
    assert group["weight_decay"] == 5e-4


def weights(host):
    return {key: value.clone() for key, value in host.model.state_dict().items()}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_host_that_was_saved_with_one_group_goes_on_with_one_bit_by_bit(plan, name):
    options = {"name": name, "weight_decay": 0.1}
    before = train(host_with(plan, decay_vectors=True, **options), 3)
    resumed = host_with(plan, **options)
    restore(resumed, capture(before))
    assert len(host_groups(resumed.optimizer)) == 1
    assert seed_ids(resumed.optimizer) == seed_ids(before.optimizer) != ()
    for host in (before, resumed):
        train(host, 2, germinate_in=-1)
    after = weights(resumed)
    assert all(torch.equal(value, after[key]) for key, value in weights(before).items())


def test_a_host_that_was_saved_with_two_groups_goes_on_with_two(plan):
    before = train(host_with(plan), 2)
    resumed = host_with(plan)
    restore(resumed, capture(before))
    assert len(host_groups(resumed.optimizer)) == 2


def test_two_groups_are_not_taken_for_one(plan):
    with pytest.raises(EsperError, match="optimizer has groups") as error:
        restore(host_with(plan, decay_vectors=True), capture(train(host_with(plan), 1)))
    assert error.value.code == "E502"
