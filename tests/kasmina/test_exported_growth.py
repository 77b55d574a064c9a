import torch

from esper_core.leyline.stages import Blend
from esper_export import export_network


def test_a_growth_is_exported_as_its_root_is(make_growth, host_class, batch):
    growth = make_growth(host_class("group"), ramp_epochs=1)
    growth.germinate("block0", "loud", Blend.LINEAR, 0)
    growth.germinate("block1", "conv", Blend.LINEAR, 0)
    for epoch in range(4):
        growth.tick(epoch)
        growth.judge(growth.evidence(epoch), accuracy=0.5)
    growth.fossilize("block0", 4)
    growth.cull("block1", 4)
    growth.slot_set.model.eval()
    for network in (growth, growth.slot_set, growth.slot_set.model):
        exported = export_network(network)
        with torch.no_grad():
            torch.testing.assert_close(exported(batch[0]), growth.slot_set.model(batch[0]), rtol=1e-6, atol=1e-6)
        assert "blocks.0.seed.gain.gain" in exported.state_dict()
        assert "blocks.1.0.weight" in exported.state_dict()
