from typing import Any

import pytest

from esper_core.leyline.errors import EsperError
from esper_core.leyline.structure import structure
from esper_core.tolaria.config import OptimizerConfig, OptimizerName


@pytest.mark.parametrize(
    ("name", "lr", "momentum", "nesterov", "weight_decay"),
    [("sgd", 0.1, 0.9, True, 5e-4), ("adam", 0.01, 0.0, False, 0.0), ("adamw", 0.01, 0.0, False, 0.01)],
)
def test_defaults_follow_the_optimizer(
    name: str, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    config = OptimizerConfig(name=OptimizerName(name))
    assert (config.lr, config.momentum, config.nesterov, config.weight_decay) == (lr, momentum, nesterov, weight_decay)


def test_no_momentum_means_no_nesterov() -> None:
    assert not OptimizerConfig(momentum=0.0).nesterov


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"lr": 0}, "optimizer.lr"),
        ({"lr": float("nan")}, "optimizer.lr"),
        ({"lr": float("inf")}, "optimizer.lr"),
        ({"momentum": 1.0}, "optimizer.momentum"),
        ({"weight_decay": -1}, "optimizer.weight_decay"),
        ({"clip_norm": 0.0}, "optimizer.clip_norm"),
        ({"warmup_epochs": -1}, "optimizer.warmup_epochs"),
        ({"name": "adamw", "betas": [0.9, 1.0]}, "optimizer.betas"),
        ({"name": "adam", "momentum": 0.5}, "optimizer.momentum"),
        ({"momentum": 0.0, "nesterov": True}, "optimizer.nesterov"),
        ({"betas": [0.8, 0.9]}, "optimizer.betas"),
        ({"name": "lion"}, "optimizer.name"),
        ({"schedule": "linear"}, "optimizer.schedule"),
        ({"decay_share": 0.5}, "optimizer.decay_share"),
        ({"schedule": "stable", "decay_share": 0.0}, "optimizer.decay_share"),
        ({"schedule": "stable", "decay_share": 1.1}, "optimizer.decay_share"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(data: dict[str, Any], path: str) -> None:
    with pytest.raises(EsperError) as caught:
        structure(OptimizerConfig, data, path="optimizer")
    assert caught.value.code == "E202"
    assert f'"{path}"' in caught.value.what
