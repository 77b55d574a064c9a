"""The tasks: predict the next token, by cross entropy."""

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
from attrs import frozen
from torch import Generator, Tensor
from torch.nn import functional as F

from esper_core.api import DataShape, EsperError, Splits, TaskKind
from esper_task_text.config import TextConfig, TinyStoriesConfig
from esper_task_text.documents import HOW_TO_GET, Document, find, read
from esper_task_text.packing import NOTHING, Sequences, pack
from esper_task_text.splits import deal
from esper_task_text.stories import StorySplits, read_stories
from esper_task_text.vocabulary import Vocabulary, load_vocabulary, train_vocabulary

#: All bytes, and then the separator.
_SEPARATOR = 256
_BYTES = _SEPARATOR + 1

_NAMES = ("train", "validation", "test")
_VOCAB_SIZE = 1024


@frozen(kw_only=True, eq=False)
class TokenData:
    """The data of a task.

    Attributes:
        vocabulary: number of different tokens.
        origin: plain data about the source of the tokens, for the identity.
        documents: documents in each split.
        sequences: sequences of each split.
    """

    vocabulary: int
    origin: Mapping[str, Any]
    documents: tuple[int, int, int]
    sequences: tuple[Sequences, Sequences, Sequences]


class TextTask:
    """Predict the next token. A sample is a sequence; where a target is -100, nothing is predicted.

    The data are read on first use; then they stay in memory, and every caller shares the same tensors.
    """

    def __init__(self, name: str, context: int, read_data: Callable[[], TokenData]) -> None:
        self.name = name
        self._context = context
        self._read_data = read_data

    @property
    def shape(self) -> DataShape:
        """Sequences of tokens, and the vocabulary's size. Raises what `load` raises."""
        return DataShape(kind=TaskKind.TOKENS, input_shape=(self._context,), outputs=self._data.vocabulary)

    @property
    def random_guess_loss(self) -> float:
        """The loss of a model for which all tokens are equally likely."""
        return math.log(self._data.vocabulary)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, origin, vocabulary, and each split's size and SHA-256; loads the data. Raises what `load` raises."""
        data = self._data
        splits = {
            name: {"documents": documents, "sequences": len(sequences), "sha256": sequences.digest}
            for name, documents, sequences in zip(_NAMES, data.documents, data.sequences, strict=True)
        }
        sizes = {"context": self._context, "vocabulary": data.vocabulary}
        return {"name": self.name, **data.origin, **sizes, "splits": splits}

    def load(self) -> Splits:
        """Return all three splits: int64 tokens (N, T), and int64 targets (N, T), -100 where there is no target.

        Raises:
            EsperError: E301 if the data cannot be found, E302 if they are damaged, E202 if there are too few.
        """
        return self._splits

    def augment(self, inputs: Tensor, generator: Generator) -> Tensor:
        """Return the batch itself."""
        return inputs

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy over each sequence's predicted positions, (B,), in nats per token.

        Args:
            outputs: logits, (B, T, vocabulary).
            targets: (B, T); a sequence without any target has no loss (NaN).
        """
        entropies = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=NOTHING, reduction="none")
        return entropies.view_as(targets).sum(dim=1) / (targets != NOTHING).sum(dim=1)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the share of each sequence's predicted positions whose token has the largest logit; (B,)."""
        predicted = targets != NOTHING
        return ((outputs.argmax(dim=-1) == targets) & predicted).sum(dim=1) / predicted.sum(dim=1)

    @cached_property
    def _data(self) -> TokenData:
        return self._read_data()

    @cached_property
    def _splits(self) -> Splits:
        train, validation, test = (sequences.resident() for sequences in self._data.sequences)
        return Splits(train=train, validation=validation, test=test)


def text(config: TextConfig) -> TextTask:
    """Return the task `text`."""
    return TextTask("text", config.context, partial(_read_text, config))


def tinystories(config: TinyStoriesConfig) -> TextTask:
    """Return the task `tinystories`."""
    return TextTask("tinystories", config.context, partial(_read_tinystories, config))


def _read_text(config: TextConfig) -> TokenData:
    corpus = find(config.path)
    counts = (config.train_sequences, config.validation_sequences, config.test_sequences)
    parts = deal(read(corpus, config.max_bytes))
    train, validation, test = (
        _chosen(config, name, documents, count) for name, documents, count in zip(_NAMES, parts, counts, strict=True)
    )
    return TokenData(
        vocabulary=_BYTES,
        origin={"corpus": corpus.name},
        documents=(len(parts[0]), len(parts[1]), len(parts[2])),
        sequences=(train, validation, test),
    )


def _chosen(config: TextConfig, name: str, documents: list[Document], count: int) -> Sequences:
    """Take sequences evenly from all documents of a split."""
    tokens = (np.frombuffer(document.content, dtype=np.uint8) for document in documents)
    packed = pack(tokens, config.context, _SEPARATOR)
    if count > len(packed):
        fewer = f"set task.{name}_sequences={len(packed)} or lower, " if len(packed) else ""
        raise EsperError(
            "E202",
            f"there is too little text for the {name} split",
            where=f"task.{name}_sequences={count}, task.max_bytes={config.max_bytes}",
            why=f"its {len(documents)} documents make {len(packed)} sequences of {config.context} bytes",
            fix=f"{fewer}set task.max_bytes higher, or {HOW_TO_GET}",
        )
    return packed.spread(count)


def _read_tinystories(config: TinyStoriesConfig) -> TokenData:
    stories = read_stories(config)
    vocabulary = _vocabulary(config, stories)
    train, validation, test = (
        pack(vocabulary.encode(part), config.context, vocabulary.separator)
        for part in (stories.train, stories.validation, stories.test)
    )
    return TokenData(
        vocabulary=vocabulary.size,
        origin={"tokenizer": vocabulary.digest},
        documents=(len(stories.train), len(stories.validation), len(stories.test)),
        sequences=(train, validation, test),
    )


def _vocabulary(config: TinyStoriesConfig, stories: StorySplits) -> Vocabulary:
    if config.tokenizer is not None:
        return load_vocabulary(config.tokenizer, config.separator)
    # Only from the training stories: the others must not be seen before they are evaluated.
    return train_vocabulary(stories.train, config.vocab_size or _VOCAB_SIZE, config.separator)
