"""TinyStories from text, parquet and arrow files, and from the hub, with the real libraries."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from esper_core.api import EsperError
from esper_task_text.config import TinyStoriesConfig
from esper_task_text.tasks import TextTask, tinystories
from esper_task_text.vocabulary import load_vocabulary, train_vocabulary

SIZES = {"train_stories": 40, "validation_stories": 10, "test_stories": 15}


def small(folder: Path | None = None, **options: Any) -> TextTask:
    directory = None if folder is None else str(folder)
    settings = {**SIZES, "directory": directory, "context": 24, **options}
    return tinystories(TinyStoriesConfig(**settings))


def refusal(task: TextTask, code: str) -> EsperError:
    with pytest.raises(EsperError) as caught:
        task.load()
    assert caught.value.code == code
    return caught.value


def assert_says_how_to_get(error: EsperError) -> None:
    assert "pip install 'esper-task-text[hub,tokenizers]'" in (error.fix or "")
    assert "task.directory=" in (error.fix or "")


@pytest.fixture
def tokenizer_file(tmp_path: Path, published: dict[str, list[str]]) -> Path:
    path = tmp_path / "tokenizer.json"
    train_vocabulary(published["train"][10:50], 300, "<|endoftext|>").tokenizer.save(str(path))
    return path


def stories_in(task: TextTask, tokenizer_file: Path) -> list[list[str]]:
    """Turn each split's tokens into stories again."""
    vocabulary = load_vocabulary(str(tokenizer_file), "<|endoftext|>")
    splits = task.load()
    found = []
    for split in (splits.train, splits.validation, splits.test):
        tokens, stories = split.targets[split.targets != -100].tolist(), [[]]
        for token in tokens:
            if token == vocabulary.separator:
                stories.append([])
            else:
                stories[-1].append(token)
        assert stories.pop() == []
        found.append([vocabulary.tokenizer.decode(story) for story in stories])
    return found


def test_text_files_give_all_of_every_story_and_three_splits(
    text_folder: Path, tokenizer_file: Path, published: dict[str, list[str]]
) -> None:
    task = small(text_folder, tokenizer=str(tokenizer_file))
    train, validation, test = stories_in(task, tokenizer_file)
    assert validation == published["train"][:10]
    assert train == published["train"][10:50]
    assert test == published["validation"][:15]


def test_shape_and_masks(text_folder: Path) -> None:
    task = small(text_folder, vocab_size=280)
    assert task.shape.outputs == 280
    assert task.shape.input_shape == (24,)
    assert task.random_guess_loss == pytest.approx(torch.tensor(280.0).log().item())
    for split in (task.load().train, task.load().validation, task.load().test):
        assert split.inputs.shape == split.targets.shape
        assert split.inputs.max() < 280
        masked = split.targets == -100
        assert not masked[:-1].any()
        assert not masked[-1].all()
        known = ~masked[:, :-1]
        assert torch.equal(split.inputs[:, 1:][known], split.targets[:, :-1][known])


def test_more_training_stories_leave_the_validation_stories_alone(text_folder: Path, tokenizer_file: Path) -> None:
    few, many = (small(text_folder, tokenizer=str(tokenizer_file), train_stories=count) for count in (10, 50))
    assert torch.equal(few.load().validation.inputs, many.load().validation.inputs)
    assert few.identity["splits"]["train"] != many.identity["splits"]["train"]


def test_repeated_and_blank_stories_count_once_and_never(
    text_folder: Path, tokenizer_file: Path, published: dict[str, list[str]]
) -> None:
    train, valid = text_folder / "TinyStories-train.txt", text_folder / "TinyStories-valid.txt"
    mark = "\n<|endoftext|>\n"
    repeated = [story for story in published["train"] for _ in range(2)]
    train.write_text(mark.join([*repeated[:30], "  \n", *repeated[30:]]), encoding="utf-8")
    valid.write_text(mark.join(published["train"][:20] + published["validation"]), encoding="utf-8")
    plain = stories_in(small(text_folder, tokenizer=str(tokenizer_file)), tokenizer_file)
    assert plain == [published["train"][10:50], published["train"][:10], published["validation"][:15]]


def test_marks_may_stand_anywhere(text_folder: Path, tokenizer_file: Path) -> None:
    expected = small(text_folder, tokenizer=str(tokenizer_file)).identity
    for path in text_folder.iterdir():
        path.write_text(path.read_text(encoding="utf-8").replace("\n<|endoftext|>\n", "<|endoftext|>"), "utf-8")
    assert small(text_folder, tokenizer=str(tokenizer_file)).identity == expected


def test_the_data_directory_is_looked_into(text_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text_folder.rename(text_folder.with_name("tinystories"))
    monkeypatch.setenv("ESPER_DATA_DIR", str(text_folder.parent))
    assert small().identity["splits"]["test"]["documents"] == 15


def test_the_tokenizer_is_trained_on_the_training_stories_alone(text_folder: Path, published: Any) -> None:
    task = small(text_folder)
    assert task.identity["tokenizer"] == train_vocabulary(published["train"][10:50], 1024, "<|endoftext|>").digest
    everything = train_vocabulary([*published["train"], *published["validation"]], 1024, "<|endoftext|>")
    assert task.identity["tokenizer"] != everything.digest


def test_training_a_tokenizer_twice_gives_the_same(published: dict[str, list[str]]) -> None:
    once, again = (train_vocabulary(published["train"], 400, "<|endoftext|>") for _ in range(2))
    assert once.tokenizer.to_str() == again.tokenizer.to_str()
    assert once.size <= 400
    encoded = [tokens.tolist() for tokens in once.encode(["a “b” \x00 \N{PILE OF POO}"])]
    assert once.tokenizer.decode(encoded[0]) == "a “b” \x00 \N{PILE OF POO}"


def test_a_vocabulary_may_have_holes(published: dict[str, list[str]]) -> None:
    import tokenizers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"One": 0, "day": 7, "?": 3}, unk_token="?"))
    words.add_special_tokens(["<|endoftext|>"])
    vocabulary = type(train_vocabulary(published["train"], 300, "<s>"))(tokenizer=words, separator=8)
    assert vocabulary.size == max(words.get_vocab().values()) + 1
    assert vocabulary.size > len(words.get_vocab())


def test_what_a_tokenizer_would_add_or_cut_is_left_out(text_folder: Path, tokenizer_file: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    expected = small(text_folder, tokenizer=str(tokenizer_file)).load()
    busy = Tokenizer.from_file(str(tokenizer_file))
    busy.enable_truncation(5)
    busy.enable_padding(length=200)
    end = busy.token_to_id("<|endoftext|>")
    busy.post_processor = TemplateProcessing(single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", end)])
    busy.save(str(tokenizer_file))
    assert torch.equal(small(text_folder, tokenizer=str(tokenizer_file)).load().train.inputs, expected.train.inputs)


def test_another_separator(text_folder: Path, tmp_path: Path, published: dict[str, list[str]]) -> None:
    path = tmp_path / "other.json"
    train_vocabulary(published["train"], 300, "</s>").tokenizer.save(str(path))
    error = refusal(small(text_folder, tokenizer=str(path)), "E302")
    assert "<|endoftext|>" in (error.why or "")
    assert "task.separator" in (error.fix or "")
    assert small(text_folder, tokenizer=str(path), separator="</s>").load().train.inputs[0, 0] == 0


@pytest.mark.parametrize(("content", "code"), [(None, "E301"), ("{}", "E302"), ("nonsense", "E302")])
def test_a_tokenizer_that_is_none_is_named(text_folder: Path, tmp_path: Path, content: str | None, code: str) -> None:
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_text(content)
    error = refusal(small(text_folder, tokenizer=str(path)), code)
    assert error.where == f"task.tokenizer={path}"
    assert error.fix


def test_a_size_cannot_be_chosen_for_a_given_tokenizer() -> None:
    with pytest.raises(ValueError, match="'vocab_size' cannot be set"):
        TinyStoriesConfig(tokenizer="tokenizer.json", vocab_size=500)
    with pytest.raises(ValueError, match="'vocab_size'"):
        TinyStoriesConfig(vocab_size=256)


@pytest.mark.parametrize(("option", "left"), [("train_stories", 50), ("validation_stories", 60), ("test_stories", 20)])
def test_too_few_stories_are_an_error_that_says_how_many(text_folder: Path, option: str, left: int) -> None:
    error = refusal(small(text_folder, **{option: 1000}), "E202")
    assert error.where == f"task.{option}=1000"
    assert f"only {left} are left" in (error.why or "")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    error = refusal(small(tmp_path / "nowhere"), "E301")
    assert error.where == f"task.directory={tmp_path / 'nowhere'}"
    assert_says_how_to_get(error)


@pytest.mark.parametrize(("removed", "named"), [("train", "'train'"), ("valid", "'validation'")])
def test_a_missing_split_is_named(text_folder: Path, removed: str, named: str) -> None:
    (text_folder / f"TinyStories-{removed}.txt").unlink()
    (text_folder / "retrained-invalidated.txt").write_text("no split")
    error = refusal(small(text_folder), "E301")
    assert named in (error.why or "")
    assert_says_how_to_get(error)


def test_text_in_another_encoding_is_damaged(text_folder: Path) -> None:
    (text_folder / "TinyStories-train.txt").write_bytes(b"caf\xe9")
    error = refusal(small(text_folder), "E302")
    assert error.where == str(text_folder / "TinyStories-train.txt")
    assert_says_how_to_get(error)


@pytest.mark.parametrize("absent", ["datasets", "tokenizers"])
def test_a_missing_package_is_named(text_folder: Path, monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    error = refusal(small(text_folder if absent == "tokenizers" else None), "E301")
    assert error.why == f"the Python package {absent} is not installed"
    assert_says_how_to_get(error)


def table(stories: list[str], column: str = "text") -> Any:
    import datasets

    return datasets.Dataset.from_dict({column: stories, "number": list(range(len(stories)))})


@pytest.fixture
def parquet_folder(tmp_path: Path, published: dict[str, list[str]]) -> Path:
    folder = tmp_path / "parquet" / "data"
    folder.mkdir(parents=True)
    table(published["train"][:30]).to_parquet(str(folder / "train-00000-of-00002.parquet"))
    table(published["train"][30:]).to_parquet(str(folder / "train-00001-of-00002.parquet"))
    table(published["validation"]).to_parquet(str(folder / "validation-00000-of-00001.parquet"))
    return folder.parent


@pytest.mark.slow
class TestTables:
    """Importing `datasets` alone takes seconds."""

    def test_parquet_arrow_and_text_files_are_the_same_data(
        self, parquet_folder: Path, text_folder: Path, tmp_path: Path, published: dict[str, list[str]]
    ) -> None:
        import datasets

        saved = datasets.DatasetDict({split: table(stories) for split, stories in published.items()})
        saved.save_to_disk(str(tmp_path / "saved"))
        expected = small(text_folder).identity
        assert small(parquet_folder).identity == expected
        assert small(tmp_path / "saved").identity == expected

    def test_nothing_stays_in_the_librarys_cache(self, parquet_folder: Path) -> None:
        import datasets

        small(parquet_folder).load()
        assert not list(Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow"))

    @pytest.mark.parametrize("edit", [lambda content: content[:-200], lambda content: b"PAR1 nonsense"])
    def test_a_damaged_file_is_named(self, parquet_folder: Path, edit: Callable[[bytes], bytes]) -> None:
        path = next(parquet_folder.rglob("validation-*"))
        path.write_bytes(edit(path.read_bytes()))
        error = refusal(small(parquet_folder), "E302")
        assert error.where == str(path)
        assert_says_how_to_get(error)

    def test_other_columns_are_told(self, parquet_folder: Path, published: dict[str, list[str]]) -> None:
        path = next(parquet_folder.rglob("validation-*"))
        table(published["validation"], column="story").to_parquet(str(path))
        error = refusal(small(parquet_folder), "E302")
        assert "its columns are story, number" in (error.why or "")

    def test_a_row_without_text_is_told(self, parquet_folder: Path) -> None:
        path = next(parquet_folder.rglob("validation-*"))
        table(["a story", None]).to_parquet(str(path))  # type: ignore[list-item]
        error = refusal(small(parquet_folder, test_stories=2), "E302")
        assert "row 1 has no text" in (error.why or "")

    def test_without_files_and_without_network_the_ways_are_told(self) -> None:
        error = refusal(small(), "E301")
        assert "on the hub" in (error.where or "")
        assert "OfflineModeIsEnabled" in (error.why or "")
        assert_says_how_to_get(error)

    def test_what_the_hub_gives_is_the_same_data(
        self, text_folder: Path, published: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import datasets

        asked: list[tuple[str, str]] = []

        def load_dataset(name: str, *, split: str) -> Any:
            asked.append((name, split))
            return table(published[split])

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        assert small().identity == small(text_folder).identity
        assert asked == [("roneneldan/TinyStories", "train"), ("roneneldan/TinyStories", "validation")]
