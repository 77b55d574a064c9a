"""Every installed policy runs on every installed task for three epochs; large data are replaced by some made up."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from esper_app.api import load_plugins
from esper_app.cli.root import cli

REGISTRY = load_plugins(tolerant=True).registry
FEW_IMAGES = {"train_samples": 60, "validation_samples": 20}
FEW_SEQUENCES = {"train_sequences": 16, "validation_sequences": 8, "test_sequences": 8}

#: What makes a task small; a folder with made-up data for those in `FOLDERS`.
SMALL = {
    "diabetes": {},
    "digits": {},
    "teacher": {**FEW_IMAGES, "test_samples": 20},
    "text": {**FEW_SEQUENCES, "max_bytes": 100_000, "context": 24},
    "tinystories": {
        "vocab_size": 280,
        "context": 24,
        "train_stories": 40,
        "validation_stories": 10,
        "test_stories": 10,
    },
    "fashion-mnist": FEW_IMAGES,
    "cifar10": FEW_IMAGES,
}


def images(folder, name, shape):
    """Parquet files as the hub has them."""
    # Imported here: it takes seconds.
    import datasets
    from PIL import Image

    features = datasets.Features({name: datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    for split, count in (("train", 80), ("test", 20)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)
        columns = {name: [Image.fromarray(it) for it in pixels], "label": [it % 10 for it in range(count)]}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(str(folder / f"{split}.parquet"))


def stories(folder):
    for split, numbers in (("train", range(50)), ("valid", range(50, 60))):
        told = "".join(f"One day, Tim found {number} hats.\n<|endoftext|>\n" for number in numbers)
        (folder / f"TinyStories-{split}.txt").write_text(told)


FOLDERS = {
    "fashion-mnist": lambda folder: images(folder, "image", (28, 28)),
    "cifar10": lambda folder: images(folder, "img", (32, 32, 3)),
    "tinystories": stories,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder with a task's data, made once."""
    made = {}

    def folder(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp(task)
            FOLDERS[task](made[task])
        return made[task]

    return folder


@pytest.mark.slow
@pytest.mark.parametrize("task", REGISTRY.names("task"))
@pytest.mark.parametrize("policy", REGISTRY.names("policy"))
def test_a_policy_runs_on_a_task(policy, task, data, tmp_path):
    settings = [f"runs={tmp_path}", "epochs=3", "twin=epochs", 'sinks.names=["jsonl"]']
    settings += [f"task.{name}={value}" for name, value in SMALL[task].items()]
    settings += [f"task.directory={data(task)}"] if task in FOLDERS else []
    arguments = [part for text in settings for part in ("--set", text)]
    result = CliRunner().invoke(cli, ["run", task, "--policy", policy, *arguments])
    assert result.exit_code == 0, result.output
    (run,) = tmp_path.glob(f"{task}-1")
    found = json.loads((run / "result.json").read_text())
    assert found["outcome"] == "completed"
    assert found["hosts"]["grown"]["epochs"] == 3
