"""Which controls are trained beside a run."""

from enum import StrEnum
from typing import Any

from attrs import Attribute


class Twin(StrEnum):
    """Which controls that never grow are trained beside a run.

    ``NONE``: none. ``EPOCHS``: one for as many epochs. ``COMPUTE``: one with as many training FLOPs. ``BOTH``: both.
    """

    NONE = "none"
    EPOCHS = "epochs"
    COMPUTE = "compute"
    BOTH = "both"

    @classmethod
    def _missing_(cls, value: object) -> "Twin | None":
        """Before there were several, it was true or false."""
        return cls.EPOCHS if value is True else cls.NONE if value is False else None


def check_twin(_: Any, attribute: "Attribute[Any]", value: Twin) -> None:
    """Refuse the controls that cannot be trained yet. Raises ValueError."""
    if value in (Twin.COMPUTE, Twin.BOTH):
        raise ValueError(
            f"'{attribute.name}' cannot be \"{value}\" yet: only the control of equal epochs can be trained"
        )
