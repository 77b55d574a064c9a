"""Which controls are trained for a run."""

from enum import StrEnum


class Twin(StrEnum):
    """Which controls that never grow are trained for a run.

    ``NONE``: none. ``EPOCHS``: a twin for as many epochs, beside the run. ``COMPUTE``: a control with as many FLOPs as
    the run has spent, when it is over. ``BOTH``: both.
    """

    NONE = "none"
    EPOCHS = "epochs"
    COMPUTE = "compute"
    BOTH = "both"

    @classmethod
    def _missing_(cls, value: object) -> "Twin | None":
        """Before there were several, it was true or false."""
        return cls.EPOCHS if value is True else cls.NONE if value is False else None

    @property
    def equal_epochs(self) -> bool:
        """There is a twin of equal epochs."""
        return self in (Twin.EPOCHS, Twin.BOTH)

    @property
    def equal_compute(self) -> bool:
        """There is a control of equal compute."""
        return self in (Twin.COMPUTE, Twin.BOTH)
