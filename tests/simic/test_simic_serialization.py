"""What a loop and a policy know survives as plain data."""

import json

import pytest
import torch

from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import PolicyState
from esper_core.leyline.records import to_json
from esper_core.simic.serialization import loop_of, loop_record, policy_of, policy_record
from esper_core.simic.state import LoopState

TENSORS = {
    "weights": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
    "count": torch.tensor(2**62),
    "mask": torch.tensor([[True], [False]]),
    "turned": torch.arange(6.0).view(2, 3).t(),
    "nothing": torch.zeros(0, 5),
}


def bits(tensor):
    return tensor.dtype, tensor.shape, tensor.contiguous().view(-1).view(torch.uint8).tolist()


def same(one, other):
    return {name: bits(tensor) for name, tensor in one.items()} == {name: bits(t) for name, t in other.items()}


def test_a_policys_memory_survives_json():
    state = PolicyState(tensors=TENSORS, record={"turn": 3, "names": ["a"]}, version=2)

    found = policy_of(json.loads(to_json(policy_record(state))))

    assert (found.record, found.version) == (state.record, 2)
    assert same(found.tensors, TENSORS)
    assert policy_record(None) is policy_of(None) is None


def test_a_loops_state_survives_json():
    found = loop_of(json.loads(to_json(loop_record(LoopState(record={"epoch": 3}, tensors=TENSORS)))))

    assert found.record == {"epoch": 3}
    assert same(found.tensors, TENSORS)


@pytest.mark.parametrize("name", ["nn", "float33", "load"])
def test_a_type_that_is_none_is_refused(name):
    record = policy_record(PolicyState(tensors={"x": torch.zeros(2)}))
    record["tensors"]["x"]["dtype"] = name

    with pytest.raises(EsperError) as caught:
        policy_of(record)
    assert caught.value.code == "E502"
