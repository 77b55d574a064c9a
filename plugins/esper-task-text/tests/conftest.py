"""Nothing here may find the user's own data; small folders of stories."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESPER_DATA_DIR", raising=False)


@pytest.fixture
def published() -> dict[str, list[str]]:
    """What the two published splits hold: 60 and 20 stories, no two alike."""
    names, things = ("Tim", "Lily", "Ben", "Mia", "Sue"), ("ball", "cat", "kite", "hat")
    stories = [
        f"One day, {name} found a {thing}. It was number {day}!\n\n{name} was “happy”."
        for day in (1, 2, 3, 4)
        for name in names
        for thing in things
    ]
    return {"train": stories[:60], "validation": stories[60:]}


@pytest.fixture
def text_folder(tmp_path: Path, published: dict[str, list[str]]) -> Path:
    """The stories as the published text files have them."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for split, name in (("train", "train"), ("validation", "valid")):
        content = "".join(f"{story}\n<|endoftext|>\n" for story in published[split])
        (folder / f"TinyStories-{name}.txt").write_text(content, encoding="utf-8")
    return folder
