"""Options of the tasks."""

from attrs import Attribute, field, frozen, validators

_POSITIVE = (validators.instance_of(int), validators.gt(0))

#: All bytes and a separator: the smallest byte-level vocabulary.
SMALLEST_VOCABULARY = 257


@frozen(kw_only=True)
class TextConfig:
    """Options of `text`.

    Attributes:
        path: a file, a folder (every file below it that is not hidden) or a glob pattern such as ``books/**/*.txt``.
            None: the standard library's sources.
        max_bytes: largest number of bytes to read; the names of the files determine which are read.
        context: bytes in a sequence.
        train_sequences: sequences to train on.
        validation_sequences: sequences to validate on, from different files.
        test_sequences: sequences for the final report, from different files again.
    """

    path: str | None = None
    max_bytes: int = field(default=2_000_000, validator=_POSITIVE)
    context: int = field(default=128, validator=_POSITIVE)
    train_sequences: int = field(default=1024, validator=_POSITIVE)
    validation_sequences: int = field(default=256, validator=_POSITIVE)
    test_sequences: int = field(default=512, validator=_POSITIVE)


@frozen(kw_only=True)
class TinyStoriesConfig:
    """Options of `tinystories`.

    Attributes:
        directory: folder with the data: parquet, arrow or text files. None: ``ESPER_DATA_DIR``, then the hub.
        tokenizer: a ``tokenizer.json`` of the package `tokenizers`. None: one is trained on the training stories.
        vocab_size: tokens of the tokenizer that is trained, the separator included; 1024 by default. Not together
            with `tokenizer`, which has its own size.
        separator: the token between stories; a given tokenizer must have it.
        context: tokens in a sequence.
        train_stories: stories to train on, from the published training stories.
        validation_stories: stories to validate on, from the published training stories too.
        test_stories: stories for the final report, from the published validation stories.
    """

    directory: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = field(
        default=None,
        validator=validators.optional([validators.instance_of(int), validators.ge(SMALLEST_VOCABULARY)]),
    )
    separator: str = field(default="<|endoftext|>", validator=validators.min_len(1))
    context: int = field(default=128, validator=_POSITIVE)
    train_stories: int = field(default=2_000, validator=_POSITIVE)
    validation_stories: int = field(default=200, validator=_POSITIVE)
    test_stories: int = field(default=400, validator=_POSITIVE)

    @vocab_size.validator
    def _belongs_to_a_trained_tokenizer(self, _: "Attribute[int | None]", value: int | None) -> None:
        if value is not None and self.tokenizer is not None:
            raise ValueError("'vocab_size' cannot be set together with 'tokenizer', which has its own size")
