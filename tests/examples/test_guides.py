"""The programs in the guides are run as they are written there."""

import re
import sys
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from esper_core.leyline.stages import TRANSITIONS, Stage

DOCS = Path(__file__).parents[2] / "docs"


def program(page):
    return "\n".join(re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # A module, not just code: what is saved names the class by the module that it is in.
    (tmp_path / "own_model_guide.py").write_text(program("own-model.md"))
    names = vars(import_module("own_model_guide"))
    monkeypatch.delitem(sys.modules, "own_model_guide")
    printed = capsys.readouterr().out
    assert "epoch 15: training loss" in printed
    assert "; trunk mlp TRAINING -> BLENDING" in printed
    assert "accuracy" not in printed
    assert [slot.stage for slot in names["handle"].slots] == [Stage.FOSSILIZED]
    assert names["frozen_handle"].slots[0].stage.live
    ours, theirs = names["resumed"].state_dict(), names["model"].state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_comparing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # With two random seeds and short runs.
    shorter = re.sub(r"\b6\b", "2", program("comparing.md")).replace('"twin": "none"', '"twin": "none", "epochs": 1')
    exec(compile(shorter, "comparing.md", "exec"), {})
    assert capsys.readouterr().out.startswith("PairedResult(pairs=2, mean=")
    assert len([*(tmp_path / "study" / "runs").glob("digits-*/result.json")]) == 4


def test_the_picture_of_the_life_shows_every_stage_and_gate():
    words = {text.text for text in ElementTree.parse(DOCS / "lifecycle.svg").iter("{http://www.w3.org/2000/svg}text")}
    assert {stage.name for stage in Stage} <= words
    assert {gate.value for gates in TRANSITIONS.values() for gate in gates} <= set(re.findall(r"G\d", " ".join(words)))
