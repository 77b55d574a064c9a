"""Packing documents into sequences, and dealing them to the splits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_task_text.documents import Document
from esper_task_text.packing import NOTHING, Sequences, pack
from esper_task_text.splits import deal

SEPARATOR = 9
DOCUMENTS = st.lists(st.lists(st.integers(0, 8), max_size=12), max_size=6)


def packed(documents: list[list[int]], context: int) -> Sequences:
    return pack([np.array(document, dtype=np.int64) for document in documents], context, SEPARATOR)


@given(DOCUMENTS, st.integers(1, 9))
def test_every_token_is_predicted_once_and_so_is_every_end(documents: list[list[int]], context: int) -> None:
    targets = packed(documents, context).targets.ravel()
    expected = [token for document in documents if document for token in (*document, SEPARATOR)]
    assert targets[targets != NOTHING].tolist() == expected


@given(DOCUMENTS, st.integers(1, 9))
def test_an_input_is_the_target_before_it_and_the_first_one_a_separator(
    documents: list[list[int]], context: int
) -> None:
    sequences = packed(documents, context)
    inputs, targets = sequences.inputs.ravel(), sequences.targets.ravel()
    assert sequences.inputs.shape == sequences.targets.shape
    assert sequences.inputs.shape[1] == context
    assert inputs[:1].tolist() in ([], [SEPARATOR])
    known = targets[:-1] != NOTHING
    assert np.array_equal(inputs[1:][known], targets[:-1][known])


@given(DOCUMENTS, st.integers(1, 9))
def test_only_the_end_of_the_last_sequence_is_filled_up(documents: list[list[int]], context: int) -> None:
    sequences = packed(documents, context)
    filled = sequences.targets == NOTHING
    assert not filled[:-1].any()
    assert not filled.all(axis=1).any()
    if len(sequences):
        assert filled[-1].tolist() == sorted(filled[-1].tolist())
        assert (sequences.inputs[filled] == SEPARATOR).all()


def test_packing_written_out() -> None:
    sequences = packed([[1, 2, 3], [], [4]], 4)
    assert sequences.inputs.tolist() == [[9, 1, 2, 3], [9, 4, 9, 9]]
    assert sequences.targets.tolist() == [[1, 2, 3, 9], [4, 9, NOTHING, NOTHING]]


@given(st.integers(1, 60), st.data())
def test_a_choice_is_spread_evenly(available: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, available))
    numbers = np.arange(available)[:, np.newaxis]
    chosen = Sequences(inputs=numbers, targets=numbers + 100).spread(count)
    indices = chosen.inputs.ravel()
    assert len(chosen) == count
    assert indices[0] == 0
    gaps = np.diff([*indices, available])
    assert gaps.min() > 0
    assert gaps.max() - gaps.min() <= 1
    assert np.array_equal(chosen.targets, chosen.inputs + 100)


def test_more_than_there_are_cannot_be_chosen() -> None:
    with pytest.raises(ValueError, match="3 sequences were requested, but there are only 2"):
        packed([[1, 2, 3]], 2).spread(3)


def test_the_digest_tells_tokens_targets_and_shape_apart() -> None:
    base = packed([[1, 2, 3, 4, 5]], 3)
    flat = Sequences(inputs=base.inputs.reshape(1, 6), targets=base.targets.reshape(1, 6))
    masked = Sequences(inputs=base.inputs, targets=np.full_like(base.targets, NOTHING))
    changed = Sequences(inputs=base.inputs + 1, targets=base.targets)
    assert len({part.digest for part in (base, flat, masked, changed)}) == 4
    assert base.digest == packed([[1, 2, 3, 4, 5]], 3).digest


@given(
    st.lists(st.integers(1, 50), min_size=3, max_size=30),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
)
def test_documents_are_dealt_whole_and_about_in_proportion(lengths: list[int], shares: tuple[int, int, int]) -> None:
    documents = [Document(name=str(index), content=b"x" * length) for index, length in enumerate(lengths)]
    parts = deal(documents, shares)
    assert sorted((d.name for part in parts for d in part), key=int) == [d.name for d in documents]
    assert all(parts)
    for part, share in zip(parts, shares, strict=True):
        before_its_last = sum(len(document.content) for document in part[:-1])
        assert before_its_last * sum(shares) <= share * sum(lengths)


@given(st.binary(min_size=1, max_size=60), st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)))
def test_a_single_document_is_cut_into_stretches(content: bytes, shares: tuple[int, int, int]) -> None:
    parts = deal([Document(name="all", content=content)], shares)
    assert b"".join(document.content for part in parts for document in part) == content
    for part, share in zip(parts, shares, strict=True):
        length = sum(len(document.content) for document in part)
        assert abs(length - len(content) * share / sum(shares)) < 1


def test_two_documents_are_both_cut() -> None:
    documents = [Document(name="a", content=b"a" * 10), Document(name="b", content=b"b" * 20)]
    train, validation, test = deal(documents, (8, 1, 1))
    assert [d.content for d in train] == [b"a" * 8, b"b" * 16]
    assert [d.content for d in validation] == [b"a", b"bb"]
    assert [d.content for d in test] == [b"a", b"bb"]


def test_a_document_too_short_to_cut_leaves_no_empty_pieces() -> None:
    parts = deal([Document(name="a", content=b"ab")], (4, 1, 1))
    assert [document.content for part in parts for document in part] == [b"a", b"b"]
