"""What expressions are made of, once they are read."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from math import copysign, inf, nan

from attrs import field, frozen


def _divided(left: float, right: float) -> float:
    """As floating-point numbers divide: Python raises where there is no number."""
    if right != 0:
        return left / right
    return nan if left == 0 or left != left else copysign(inf, left) * copysign(1.0, right)


ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divided,
}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
SETS = ("and", "or", "unless")

#: Functions that look at a range of time.
OF_RANGES = ("rate", "increase")

#: Every function, and whether each of its arguments is a vector.
FUNCTIONS: Mapping[str, tuple[bool, ...]] = {
    "time": (),
    "rate": (True,),
    "increase": (True,),
    "histogram_quantile": (False, True),
}


@frozen
class Number:
    """A number."""

    value: float


@frozen(kw_only=True)
class Matcher:
    """What a label must be: ``=``, ``!=``, or with a regular expression ``=~``, ``!~``."""

    label: str
    operator: str
    value: str
    _pattern: re.Pattern[str] = field(init=False, eq=False, repr=False)

    @_pattern.default
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.value if "~" in self.operator else re.escape(self.value))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether labels match; one that is missing is empty."""
        found = self._pattern.fullmatch(labels.get(self.label, "")) is not None
        return found is not self.operator.startswith("!")


@frozen(kw_only=True)
class Selector:
    """Series by name and labels, at one moment or over a window of seconds, `offset` seconds ago."""

    name: str
    matchers: tuple[Matcher, ...] = ()
    window: float | None = None
    offset: float = 0.0


@frozen(kw_only=True)
class Call:
    """A function of `FUNCTIONS`."""

    function: str
    arguments: "tuple[Expression, ...]"


@frozen(kw_only=True)
class Sum:
    """Sums of series that have the same values of these labels."""

    labels: tuple[str, ...]
    argument: "Expression"


@frozen(kw_only=True)
class Binary:
    """Two operands; series are matched by all labels but those that are ignored."""

    operator: str
    left: "Expression"
    right: "Expression"
    ignoring: tuple[str, ...] = ()


Expression = Number | Selector | Call | Sum | Binary


def is_vector(it: Expression) -> bool:
    """Say whether an expression gives series; otherwise it gives one number."""
    if isinstance(it, Binary):
        return is_vector(it.left) or is_vector(it.right)
    return not (isinstance(it, Number) or (isinstance(it, Call) and it.function == "time"))


def selectors(it: Expression) -> Iterator[Selector]:
    """Yield every selector in an expression."""
    if isinstance(it, Selector):
        yield it
    elif isinstance(it, Binary):
        yield from (*selectors(it.left), *selectors(it.right))
    elif isinstance(it, Sum):
        yield from selectors(it.argument)
    elif isinstance(it, Call):
        for argument in it.arguments:
            yield from selectors(argument)
