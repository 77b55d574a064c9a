"""Which document goes into which split."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from esper_task_text.documents import Document

#: How much of the text is for train, validation and test. Fixed: no other number of sequences moves a document.
SHARES = (8, 1, 1)


def deal(documents: Sequence[Document], shares: tuple[int, ...] = SHARES) -> tuple[list[Document], ...]:
    """Return the documents of each split, with their bytes about in proportion to the shares.

    Each document goes, whole, to the split that has least of its share so far (the smallest share first), so that no
    text is in two splits. Fewer documents than splits are cut instead, each into one stretch for every split, in
    their order.
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
