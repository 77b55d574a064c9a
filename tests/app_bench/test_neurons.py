"""The arms of gromo: a host that does not grow trains as in Esper's own loop, and one that grows is counted."""

import pytest

from esper_app.api import PluginOptions, execute, load_plugins, resolve_run
from esper_app_bench.neurons.training import STATISTICS, train
from esper_core.api import EsperError
from esper_studies import RunRequest, Study, figures_of
from esper_studies.requests import Resolver

FLAT = {"host.pool": 0, "host.groups": 1, "policy.name": "null", "twin": "none", "seed": 3}

#: Of a digits epoch of that host: a sample's forward pass, three times in training and once in validation.
HOST = 246
FORWARD = 8 * 8 * 9 * (1 + 4) * 4 * 2 + 4 * 10 * 2
EPOCH = FORWARD * (3 * 1078 + 359)


@pytest.fixture(scope="module")
def resolve():
    return Resolver(PluginOptions())


def trained(resolve, method, parameters, epochs, **settings):
    request = RunRequest.of("digits", {**FLAT, "flops": EPOCH * epochs, "epochs": epochs, **settings})
    return train(resolve(request), {"method": method, "parameters": parameters})


@pytest.mark.slow
def test_what_does_not_grow_trains_as_in_espers_own_loop(resolve, tmp_path):
    plugins = load_plugins()
    quiet = {"sinks.names": [], "checkpoints.every": 0, "runs": str(tmp_path)}
    run = execute(resolve_run("digits", plugins, settings={**FLAT, **quiet, "epochs": 2}), plugins)
    own, found = run.result["hosts"]["grown"], trained(resolve, "tiny", HOST, 2)
    assert found.epochs == 2
    assert found.flops == own["compute"]["total"] == 2 * EPOCH
    assert found.parameters == own["parameters"] == HOST
    assert found.test_loss == pytest.approx(own["test_loss"], rel=1e-4)
    assert found.test_accuracy == pytest.approx(own["test_accuracy"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tiny", "gradmax"])
def test_a_host_is_widened_towards_its_size_and_every_operation_is_spent(resolve, method):
    found = trained(resolve, method, 400, 12)
    widths = [it["widths"][0] for it in found.grown]
    assert len(found.grown) == 4
    assert widths == sorted(widths)
    assert 4 < widths[-1] <= 4 + -(-(400 - HOST) // 47)  # 9 * (1 + 4) + 2 parameters for each channel
    assert found.parameters == HOST + 47 * (widths[-1] - 4)
    assert found.flops >= 12 * EPOCH
    # What is spent beside training a host of the first width: the statistics, and wider epochs.
    assert found.epochs < 12
    passes = 4 * 3 * FORWARD * 64 * STATISTICS
    assert found.flops - found.epochs * EPOCH > passes


def test_other_hosts_are_refused_by_name(resolve):
    with pytest.raises(EsperError, match="Cnn cannot be widened by gromo") as error:
        trained(resolve, "tiny", 400, 2, **{"host.pool": 2})
    assert error.value.code == "E402"
    request = RunRequest.of("digits", FLAT)
    with pytest.raises(EsperError, match="budget") as error:
        train(resolve(request), {"method": "tiny", "parameters": 400})
    assert error.value.code == "E202"


@pytest.mark.slow
def test_a_study_runs_a_trainer_and_keeps_what_it_has_made(tmp_path):
    request = RunRequest.of("digits", {**FLAT, "flops": EPOCH, "epochs": 1})
    asked = RunRequest(
        task="digits", options=request.options, trainer="neurons", trainer_options={"method": "tiny", "parameters": 246}
    )
    with Study(tmp_path) as study:
        (one, own) = study.run([asked, request])
        (again,) = study.run([asked])
    assert one.name != own.name
    assert again.cached
    assert not one.cached
    trained_by, by_esper = figures_of(one), figures_of(own)
    assert trained_by.validation_loss == pytest.approx(by_esper.validation_loss, rel=1e-4)
    assert (trained_by.flops, trained_by.germinated) == (by_esper.flops, 0)


def test_a_trainer_that_is_not_installed_is_named(tmp_path):
    from esper_studies.trainers import find_trainer

    with pytest.raises(EsperError, match='no trainer "neuron"') as error:
        find_trainer("neuron")
    assert error.value.code == "E204"
    assert "neurons" in error.value.why
