"""Tokens of TinyStories, through the `tokenizers` package: a given tokenizer, or one that is trained here."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from esper_core.api import EsperError
from esper_task_text.stories import HOW_TO_GET

#: Stories encoded at a time.
_BATCH = 1000


@frozen(kw_only=True, eq=False)
class Vocabulary:
    """A tokenizer and the token between stories.

    Attributes:
        tokenizer: a `tokenizers.Tokenizer`.
        separator: id of the token between stories.
    """

    tokenizer: Any
    separator: int

    @property
    def size(self) -> int:
        """One more than the largest id; a vocabulary may have gaps."""
        largest: int = max(self.tokenizer.get_vocab().values())
        return largest + 1

    @property
    def digest(self) -> str:
        """SHA-256 over all tokens and their ids."""
        return hashlib.sha256(json.dumps(sorted(self.tokenizer.get_vocab().items())).encode()).hexdigest()

    def encode(self, stories: Sequence[str]) -> Iterator[NDArray[np.int64]]:
        """Yield each story's tokens, without special tokens that the tokenizer would add."""
        for start in range(0, len(stories), _BATCH):
            for encoding in self.tokenizer.encode_batch(stories[start : start + _BATCH], add_special_tokens=False):
                yield np.array(encoding.ids, dtype=np.int64)


def load_vocabulary(path: str, separator: str) -> Vocabulary:
    """Return the tokenizer of a ``tokenizer.json``.

    Raises:
        EsperError: E301 if there is no such file or `tokenizers` is not installed, E302 if it is not a tokenizer or
            does not have the separator.
    """
    tokenizers, where = _import_tokenizers(), f"task.tokenizer={path}"
    file = Path(path).expanduser()
    if not file.is_file():
        why, fix = "there is no such file", "give the path of a tokenizer.json, or do not set it: then one is trained"
        raise EsperError("E301", "the tokenizer cannot be found", where=where, why=why, fix=fix)
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    # The library raises a bare Exception for everything that it cannot read.
    except Exception as error:
        fix = "save one with `Tokenizer.save`, or do not set it: then one is trained"
        raise EsperError("E302", "the tokenizer cannot be read", where=where, why=str(error), fix=fix) from error
    # Truncation and padding would change the stories.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    token = tokenizer.token_to_id(separator)
    if token is None:
        why, fix = f'it has no token "{separator}"', "set task.separator to the token that ends its texts"
        raise EsperError("E302", "the tokenizer cannot separate stories", where=where, why=why, fix=fix)
    return Vocabulary(tokenizer=tokenizer, separator=token)


def train_vocabulary(stories: Sequence[str], size: int, separator: str) -> Vocabulary:
    """Return a byte-level BPE tokenizer with up to `size` tokens, trained on the stories; it is deterministic.

    Raises:
        EsperError: E301 if `tokenizers` is not installed.
    """
    tokenizers = _import_tokenizers()
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, special_tokens=[separator], initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(stories, trainer)
    return Vocabulary(tokenizer=tokenizer, separator=tokenizer.token_to_id(separator))


def _import_tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise EsperError(
            "E301",
            "the stories of tinystories cannot be converted to tokens",
            why=f"the Python package {error.name} is not installed",
            fix=HOW_TO_GET,
        ) from error
    return tokenizers
