"""The study of variants: every named part is a valid setting, and a study that was cut goes on where it was."""

import importlib.util
import json
from pathlib import Path

import pytest

from esper_app.configuration.components import RegisteredOptions
from esper_app.configuration.overrides import parse_overrides
from esper_app.configuration.resolve import resolve_config
from esper_core.leyline.specs import TaskSpec
from esper_core.plugins.loader import load_plugins

_SPEC = importlib.util.spec_from_file_location("growing_study", Path(__file__).with_name("growing_study.py"))
bench = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bench)


@pytest.mark.parametrize("part", bench.PARTS)
def test_every_part_is_a_setting_that_a_run_takes(part):
    plugins = load_plugins()
    spec = plugins.registry.get(TaskSpec.kind, "digits").spec
    overrides = parse_overrides([*bench.QUIET, *bench.settings_of(part)])
    config = resolve_config(spec, RegisteredOptions(plugins.registry), overrides=overrides).config
    if part == "at-once":
        assert (config.lifecycle.incubation, config.lifecycle.ramp_epochs) == ("none", 0)
    elif part == "gated":
        assert config.policy.options["blend"] == "gated"
    else:
        assert part in (config.lifecycle.incubation, config.optimizer.seed_schedule)


def test_variants_are_made_of_parts_and_settings():
    assert bench.settings_of("none+restart-all+epochs=3") == (
        "lifecycle.incubation=none",
        "optimizer.seed_schedule=restart-all",
        "epochs=3",
    )
    with pytest.raises(SystemExit, match="known: ste, probe"):
        bench.settings_of("stee")


def result(test_accuracy):
    twin = {"test_accuracy": 0.9, "train_seconds": 2.0, "parameters": 1, "forward_flops": 1}
    return {
        "outcome": "completed",
        "hosts": {"twin": twin, "grown": {**twin, "test_accuracy": test_accuracy, "train_seconds": 3.0}},
        "difference": {"test_accuracy": test_accuracy - 0.9, "test_gain": {"mean": 0.02}},
        "seeds": [{"final_stage": stage} for stage in ("FOSSILIZED", "CULLED", "CULLED", "BLENDING")],
    }


def test_a_study_that_was_cut_runs_what_is_missing_only(tmp_path, monkeypatch):
    asked, out = [], tmp_path / "study.jsonl"

    def run_once(plugins, task, seed, settings):
        asked.append((seed, settings[-1]))
        return bench.summary(result(0.9 + seed / 100))

    monkeypatch.setattr(bench, "run_once", run_once)

    def study(seeds):
        return [*bench.study("digits", seeds, ["none", "ste"], ["epochs=3"], out)]

    whole = study([1, 2])
    assert len(asked) == len(out.read_text().splitlines()) == 4
    out.write_text(out.read_text()[:-9])  # the last line is cut
    asked.clear()
    assert study([1, 2]) == whole
    assert asked == [(2, "lifecycle.incubation=ste")]
    asked.clear()
    assert study([1, 2]) == whole
    assert not asked
    assert {json.loads(line)["run"]["seed"] for line in out.read_text().splitlines() if line.endswith("}}")} == {1, 2}


def test_the_table_shows_means_and_deviations_over_the_seeds():
    rows = [bench.summary(result(accuracy)) for accuracy in (0.91, 0.93)]
    assert bench.cells(rows[0]) == ["90.00", "91.00", "+1.00", "+0.0200", "1", "2", "1.50"]
    assert bench.summed_up(rows)[:4] == ["90.00 ± 0.00", "92.00 ± 1.41", "2.00 ± 1.41", "0.0200 ± 0.0000"]


def test_seeds_are_named_by_ranges_and_lists():
    assert bench.seeds_of("0-2,7") == [0, 1, 2, 7]
