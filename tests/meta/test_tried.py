"""What the page of trials says was tried can be tried, and a trial that goes wrong is seen."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import try_models

    return try_models


@pytest.fixture
def attempt(tool):
    from trials.trial import Trial, attempt

    return lambda run, refused="", needs=(): attempt(Trial("Group", "a | name", run, refused=refused, needs=needs))


def fails(error):
    def run():
        raise error

    return run


def test_the_page_has_every_trial_and_nothing_that_went_wrong(tool):
    page = (ROOT / "docs" / "tried.md").read_text()
    rows = re.findall(r"^\| (.+?) \| \*\*(.+?)\*\*: .* \| \d+ \|$", page, re.MULTILINE)
    assert [name for name, _ in rows] == [trial.name for trial in tool.all_trials()]
    assert {kind for _, kind in rows} <= {"grew", "refused"}


def test_a_result_is_what_came_of_a_trial(attempt, tool):
    from trials.trial import Wrong

    from esper_core.api import EsperError

    refusal = EsperError("E401", "it cannot be grown", why="it is too small")
    kinds = {
        "grew": attempt(lambda: "1 seed kept"),
        "refused": attempt(fails(refusal), refused="E401"),
        "not tried": attempt(lambda: "", needs=("no_such_module",)),
    }
    assert {kind: result.kind for kind, result in kinds.items()} == {kind: kind for kind in kinds}
    wrong = [
        attempt(lambda: "1 seed kept", refused="E401"),
        attempt(fails(refusal), refused="E402"),
        attempt(fails(refusal)),
        attempt(fails(Wrong("it forgot"))),
        attempt(fails(RuntimeError("odd"))),
    ]
    assert {result.kind for result in wrong} == {"wrong"}
    assert "E401: it cannot be grown; it is too small" in kinds["refused"].said


def test_results_go_between_the_markers_of_a_page(attempt, tool, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter\n")
    for _ in range(2):
        tool.write(page, [attempt(lambda: "1 seed | kept")])
    text = page.read_text()
    assert "old" not in text
    assert text.count("| a \\| name | **grew**: 1 seed \\| kept | 0 |") == 1
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="no <!--"):
        tool.write(page, [])


def test_some_trials_are_chosen_by_a_word(tool):
    assert {trial.name for trial in tool.chosen(["mamba", "ddp", "DistributedDataParallel"])} == {
        "Mamba, sites found by themselves",
        "DistributedDataParallel of one process (gloo)",
    }
    with pytest.raises(SystemExit, match="no trial is named nothing-of-the-kind"):
        tool.chosen(["nothing-of-the-kind"])


def doubled(part):
    for parameter in part.parameters(recurse=False):
        parameter.mul_(2.0)


def test_a_network_that_has_lost_its_seed_is_seen(tool):
    import copy

    import torch
    from trials.growing import Net, exported, grow, train, vectors
    from trials.trial import Wrong

    torch.manual_seed(0)
    model = Net()
    handle = grow(model, torch.optim.AdamW(model.parameters(), lr=1e-2), sites=["b"])
    model(vectors()[0][0])
    with pytest.raises(Wrong, match="no seed was kept"):
        exported(handle, vectors()[0][0])
    train(handle, vectors())
    assert "equal" in exported(handle, vectors()[0][0])
    handle.export = lambda: copy.deepcopy(model.requires_grad_(False)).apply(doubled)
    with pytest.raises(Wrong, match="the export differs"):
        exported(handle, vectors()[0][0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "word",
    ["Mamba", "T5", "ALBERT", "Adafactor", "SAM, a wrapper", "GradScaler", "reentrant", "made before"],
)
def test_some_of_what_was_tried_is_as_it_was(tool, word):
    from trials.trial import attempt

    for trial in tool.chosen([word]):
        result = attempt(trial)
        assert result.right, f"{trial.name}: {result.said}"
