"""How the axes of an activation are laid out."""

from collections.abc import Mapping
from enum import StrEnum


class Layout(StrEnum):
    """How the axes of an activation are laid out: images, sequences, or plain feature vectors."""

    NCHW = "NCHW"
    BTD = "BTD"
    BD = "BD"

    @property
    def rank(self) -> int:
        """Number of axes, the batch included."""
        return len(self.value)

    @property
    def width_axis(self) -> int:
        """The axis of the channels or features."""
        return 1 if self is Layout.NCHW else self.rank - 1

    @property
    def row_axes(self) -> tuple[int, ...]:
        """The axes of one row, whose size is taken by itself: an image (NCHW), a position (BTD), a vector (BD)."""
        return (1, 2, 3) if self is Layout.NCHW else (self.width_axis,)


#: The layout that an activation of this rank has unless a host says otherwise.
LAYOUT_BY_RANK: Mapping[int, Layout] = {layout.rank: layout for layout in Layout}
