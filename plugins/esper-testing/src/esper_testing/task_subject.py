"""A task under test: how it is built, and whether its data are there."""

from attrs import field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.protocols import Split, Task
from esper_core.leyline.specs import TaskSpec
from esper_testing.check import NotApplicable
from esper_testing.subject import Subject


@frozen(kw_only=True)
class TaskSubject(Subject[TaskSpec]):
    """What the task checks look at.

    Attributes:
        overlap_limit: what share of the samples of a split may also occur in another one. Real data have duplicates.
    """

    overlap_limit: float = 0.01
    _missing: list[str] = field(factory=list, init=False, eq=False, repr=False)

    def build(self) -> Task:
        """Return a new task whose data are there.

        Raises:
            NotApplicable: if they are not (E301).
        """
        if self._missing:  # some look for their data on the net, and patiently
            raise NotApplicable(self._missing[0])
        task: Task = self.factory(self.config)
        try:
            task.load()
        except EsperError as error:
            if error.code != "E301":
                raise
            self._missing.append(f"its data are not here: {error.fix or error.what}")
            raise NotApplicable(self._missing[0]) from error
        return task

    def build_any(self) -> None:
        """Build the task, without its data."""
        self.factory(self.config)


def splits_of(task: Task) -> dict[str, Split]:
    """Return the splits by name."""
    found = task.load()
    return {"train": found.train, "validation": found.validation, "test": found.test}
