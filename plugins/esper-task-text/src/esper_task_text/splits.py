"""Which split each document belongs to."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from esper_task_text.documents import Document

#: Shares of the text for train, validation and test. They are fixed, so the number of sequences moves no document.
SHARES = (8, 1, 1)


def deal(documents: Sequence[Document], shares: tuple[int, ...] = SHARES) -> tuple[list[Document], ...]:
    """Return the documents of each split, with sizes in bytes roughly proportional to the shares.

    Each whole document goes to the split that so far has the least of its share (the smallest share first), so no text
    is in two splits. If there are fewer documents than splits, each document is cut into one part for each split, in
    the order of the splits.
    """
    if len(documents) < len(shares):
        parts = [_cut(document, shares) for document in documents]
        return tuple([part[split] for part in parts if part[split].content] for split in range(len(shares)))
    dealt: tuple[list[Document], ...] = tuple([] for _ in shares)
    sizes = [0 for _ in shares]
    for document in documents:
        split = min(range(len(shares)), key=lambda split: (sizes[split] / shares[split], shares[split]))
        dealt[split].append(document)
        sizes[split] += len(document.content)
    return dealt


def _cut(document: Document, shares: tuple[int, ...]) -> list[Document]:
    length, total = len(document.content), sum(shares)
    borders = [length * share // total for share in accumulate(shares, initial=0)]
    return [Document(name=document.name, content=document.content[start:end]) for start, end in pairwise(borders)]
