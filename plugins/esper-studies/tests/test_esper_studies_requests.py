"""The digest of a run: whatever decides its result, and nothing else."""

import json
from pathlib import Path

import pytest
from attrs import evolve

from esper_app.api import ConfigOptions, PluginOptions
from esper_studies import RunRequest, StudyRun, figures_of, request_digest
from esper_studies.requests import Resolver

ROOT = Path("/study")


@pytest.fixture(scope="module")
def digest():
    resolve = Resolver(PluginOptions())

    def digest(root=ROOT, **settings):
        asked = RunRequest.of("digits", {key.replace("__", "."): value for key, value in settings.items()})
        return request_digest(resolve(asked).configuration, root)

    return digest


@pytest.mark.parametrize("settings", [{"seed": 1}, {"optimizer__lr": 0.2}, {"policy__germinate_from": 0.1}])
def test_what_decides_a_result_is_in_it(digest, settings):
    assert digest(**settings) != digest()
    assert digest(**settings) == digest(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "other"},
        {"runs": "/elsewhere"},
        {"sinks__names": ["jsonl"]},
        {"executor__name": "serial"},
        {"checkpoints__every": 1},
        {"optimizer__lr": 0.1},  # as it is anyway
    ],
)
def test_what_decides_nothing_is_not(digest, settings):
    assert digest(**settings) == digest()


def test_a_path_below_the_study_moves_with_it(digest):
    def replayed(root, run):
        return digest(Path(root), policy__name="fixed-schedule", policy__run=run)

    assert replayed("/study", "/study/runs/a") == replayed("/moved", "/moved/runs/a")
    assert replayed("/study", "/study/runs/a") != replayed("/study", "/study/runs/b")
    assert replayed("/study", "/elsewhere/a") != replayed("/study", "/study/elsewhere/a")


def test_a_request_survives_the_way_to_a_worker(tmp_path):
    options = ConfigOptions(file=tmp_path / "config.toml", settings={"host.widths": [4, 6]}, sets=("seed=3",))
    asked = RunRequest(task="digits", options=options).with_sets("epochs=2")
    assert RunRequest.from_data(asked.as_data()) == asked
    assert asked.options.sets == ("seed=3", "epochs=2")


def test_another_policy_at_the_same_place_is_another_run(tmp_path):
    resolve = Resolver(PluginOptions())
    # Resolved, a configuration names the options of the policy; what it has learned is in the file beside its card.
    resolved = resolve(RunRequest.of("digits", {"policy.name": "heuristic"})).configuration
    saved = evolve(resolved, config=evolve(resolved.config, policy=evolve(resolved.config.policy, saved="best.json")))
    found = []
    for digest in ("a" * 64, "b" * 64):
        card = {
            "format": 1,
            "policy": "heuristic",
            "options": {},
            "task": "digits",
            "host": {"name": "cnn"},
            "hosts": 1,
        }
        card |= {"epochs": 1, "rounds": 1, "blueprints": [], "catalogue": "", "observation": None, "seed": 0}
        card |= {"rewards": {"preset": None, "terms": [], "gamma": 1.0}, "digest": digest}
        (tmp_path / "best.json").write_text(json.dumps(card))
        at = evolve(saved.config.policy, saved=str(tmp_path / "best.json"))
        found.append(request_digest(evolve(saved, config=evolve(saved.config, policy=at)), ROOT))
    assert len({*found, request_digest(resolved, ROOT)}) == 3


def test_a_whole_run_is_charged_for_its_twin():
    host = {"test_loss": 0.5, "test_accuracy": 0.9, "validation_loss": 0.4, "parameters": 7, "forward_flops": 3}
    host |= {"compute": {"total": 100}, "train_seconds": 2.0, "measure_seconds": 1.0, "epochs": 4}
    twin = {**host, "test_loss": 0.7, "compute": {"total": 60}, "train_seconds": 0.5}
    run = StudyRun(
        name="x", directory=Path("x"), result={"hosts": {"grown": host, "twin": twin}, "seeds": [], "trainer": {}}
    )
    own, whole = figures_of(run), figures_of(run, whole=True)
    assert (own.flops, own.seconds) == (100, 3.0)
    assert (whole.flops, whole.seconds) == (160, 4.5)
    assert own.loss == whole.loss == 0.5
    twin["compute"] = {"total": None}
    assert figures_of(run, whole=True).flops is None


def test_a_trainer_and_what_it_is_told_are_a_part_of_the_digest_and_go_with_the_request():
    plain = RunRequest.of("digits", {"epochs": 2})
    told = evolve(plain, trainer="neurons", trainer_options={"method": "tiny"})
    resolved = Resolver(PluginOptions())(plain).configuration
    digests = {request_digest(resolved, Path(), it) for it in (plain, told, evolve(told, trainer_options={}))}
    assert len(digests) == 3
    assert request_digest(resolved, Path()) == request_digest(resolved, Path(), plain)
    assert RunRequest.from_data(json.loads(json.dumps(told.as_data()))) == told
