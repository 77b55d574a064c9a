"""In a user's own loop: LoRA inside the linear layers of a frozen network, several at once, and merged in the end."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from esper_core import grow
from esper_core.kasmina.forward_mode import ForwardMode
from esper_export import export_network

EPOCHS = 9


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)))


def test_lora_adapts_a_frozen_network_and_is_merged():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 6, generator=generator)
    targets = (inputs[:, 0] > 0).long()
    model = Net().requires_grad_(False)
    optimizer = torch.optim.AdamW([{"params": []}], lr=0.01)
    handle = grow(
        model,
        sites=["first", "head"],
        optimizer=optimizer,
        epochs=EPOCHS,
        policy={"name": "periodic", "slots": 2, "first_epoch": 0, "every_epochs": 99},
        blueprints={"lora": {"rank": 2}},
        gates="permissive",
        settings={"lifecycle": {"ramp_epochs": 1}, "limits": {"max_growth_ratio": 20.0}},
    )
    before = cross_entropy(model(inputs), targets).item()
    for _ in range(EPOCHS):
        model.train()
        for rows in torch.arange(96).split(32):
            optimizer.zero_grad()
            loss = cross_entropy(handle.model(inputs[rows]), targets[rows])
            if loss.requires_grad:
                loss.backward()
            optimizer.step()
        handle.epoch_end([(inputs[:32], targets[:32])], cross_entropy, train_loss=loss.item(), train_accuracy=0.5)
    slots = handle.growth.slot_set.slots
    assert {name: slot.site.input_shape for name, slot in slots.items()} == {"first": (6,), "head": (8,)}
    assert {slot.forward_mode for slot in slots.values()} == {ForwardMode.FOSSIL}
    grown = model.eval()(inputs)
    assert cross_entropy(grown, targets).item() < before - 0.01
    plain = export_network(model)
    assert {*plain.state_dict()} == {*Net().state_dict()}
    torch.testing.assert_close(plain(inputs), grown)
