"""The part of PromQL that alerts are written in. What is not a part of it is refused by name, never taken for false."""

import re
from collections.abc import Iterator
from typing import NoReturn

from attrs import frozen

from esper_alerts.expressions import (
    ARITHMETIC,
    COMPARISONS,
    FUNCTIONS,
    OF_RANGES,
    SETS,
    Binary,
    Call,
    Expression,
    Matcher,
    Number,
    Selector,
    Sum,
    is_vector,
)

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<duration>\d+(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*(?![\w.]))
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<symbol>=~|!~|[<>=!]=|[-+*/%^@<>=(){}\[\],])
    )""",
    re.VERBOSE,
)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}

#: From the weakest to the strongest; operators of one level are taken from the left.
_LEVELS = (("or",), ("and", "unless"), tuple(COMPARISONS), ("+", "-"), ("*", "/"))

#: Words of PromQL that would be taken for the name of a metric.
_RESERVED = {"on", "ignoring", "group_left", "group_right", "by", "without", "bool", "offset", "atan2"}


class UnsupportedExpression(ValueError):  # noqa: N818 - it is no accident that it is not understood
    """An expression holds something that is not evaluated here."""


def parse(text: str) -> Expression:
    """Return what an expression says.

    Raises:
        UnsupportedExpression: it holds something that is not evaluated here, which is named.
    """
    return _Parser(text).whole()


def seconds(duration: str) -> float:
    """Return a duration such as ``5m`` or ``1h30m`` in seconds.

    Raises:
        UnsupportedExpression: it is none.
    """
    parts = re.findall(r"(\d+)(ms|[smhdwy])", duration)
    if not parts or "".join(map("".join, parts)) != duration:
        raise UnsupportedExpression(f'"{duration}" is no duration')
    return sum(int(count) * _SECONDS[unit] for count, unit in parts)


@frozen
class _Token:
    kind: str
    text: str


_END = _Token("end", "")


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text.rstrip()):
        found = _TOKEN.match(text, place)
        if found is None:
            raise UnsupportedExpression(f'"{text[place:].split()[0]}" is not understood in: {text}')
        place = found.end()
        assert found.lastgroup is not None
        yield _Token(found.lastgroup, found[found.lastgroup])


class _Parser:
    """Reads tokens from the left."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*_tokens(text), _END]
        self._place = 0

    def whole(self) -> Expression:
        found = self._binary(0)
        if self._next is not _END:
            self._refuse(self._next.text)
        return self._instant(found, "expression")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += 1
        return token

    def _accept(self, text: str) -> bool:
        if self._next.text == text and self._next.kind in ("symbol", "word"):
            self._place += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            self._refuse(self._next.text or "the end", f'"{text}" was expected')

    def _kind(self, kind: str) -> str:
        if self._next.kind != kind:
            self._refuse(self._next.text or "the end", f"a {kind} was expected")
        return self._take().text

    def _refuse(self, what: str, why: str = "it is not evaluated here") -> NoReturn:
        raise UnsupportedExpression(f'"{what}" in: {self._text}: {why}')

    def _binary(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._operand()
        left = self._binary(level + 1)
        while self._next.kind in ("symbol", "word") and self._next.text in _LEVELS[level]:
            operator = self._take().text
            if self._next.text in ("bool", "on"):
                self._refuse(self._next.text)
            ignoring = self._names() if self._accept("ignoring") else ()
            if self._next.text in ("group_left", "group_right"):
                self._refuse(self._next.text)
            left = self._combined(operator, left, self._binary(level + 1), ignoring)
        return left

    def _combined(self, operator: str, left: Expression, right: Expression, ignoring: tuple[str, ...]) -> Expression:
        vectors = [is_vector(self._instant(it, operator)) for it in (left, right)]
        if operator in SETS and not all(vectors):
            self._refuse(operator, "between numbers there are no sets")
        if ignoring and not all(vectors):
            self._refuse("ignoring", "a number has no labels")
        if operator in COMPARISONS and not any(vectors):
            self._refuse(operator, "two numbers cannot be compared without bool")
        assert operator in SETS or operator in COMPARISONS or operator in ARITHMETIC
        return Binary(operator=operator, left=left, right=right, ignoring=ignoring)

    def _operand(self) -> Expression:
        if self._accept("("):
            found = self._binary(0)
            self._expect(")")
            return self._plain(found)
        if self._next.kind == "number":
            return Number(float(self._take().text))
        word = self._kind("word")
        if word == "sum":
            return self._sum()
        if self._next.text == "(":
            return self._call(word)
        if word in _RESERVED:
            self._refuse(word)
        return self._selector(word)

    def _plain(self, found: Expression) -> Expression:
        """An operand in parentheses takes no range and no offset here."""
        self._instant(found, "(")
        if self._next.text in ("[", "offset", "@"):
            self._refuse(self._next.text, "a subquery is not evaluated here")
        return found

    def _instant(self, it: Expression, where: str) -> Expression:
        if isinstance(it, Selector) and it.window is not None:
            self._refuse(where, "it takes no range")
        return it

    def _sum(self) -> Expression:
        if self._next.text == "without":
            self._refuse("without")
        labels = self._names() if self._accept("by") else ()
        self._expect("(")
        argument = self._instant(self._binary(0), "sum")
        self._expect(")")
        if not is_vector(argument):
            self._refuse("sum", "a number has no series")
        return self._plain(Sum(labels=labels, argument=argument))

    def _call(self, name: str) -> Expression:
        if name not in FUNCTIONS:
            self._refuse(name)
        self._expect("(")
        arguments = []
        while self._next.text != ")":
            arguments.append(self._binary(0))
            if not self._accept(","):
                break
        self._expect(")")
        # Whether each argument is a number, or a vector.
        kinds = tuple(is_vector(argument) for argument in arguments)
        if kinds != FUNCTIONS[name]:
            self._refuse(name, "it takes other arguments")
        ranges = [isinstance(argument, Selector) and argument.window is not None for argument in arguments]
        if any(ranges) != (name in OF_RANGES):
            self._refuse(name, "it takes a range" if name in OF_RANGES else "it takes no range")
        return self._plain(Call(function=name, arguments=tuple(arguments)))

    def _selector(self, name: str) -> Expression:
        matchers = tuple(self._matchers()) if self._accept("{") else ()
        window = None
        if self._accept("["):
            window = seconds(self._kind("duration"))
            self._expect("]")
        offset = seconds(self._kind("duration")) if self._accept("offset") else 0.0
        return Selector(name=name, matchers=matchers, window=window, offset=offset)

    def _matchers(self) -> Iterator[Matcher]:
        while not self._accept("}"):
            label, operator = self._kind("word"), self._take().text
            if operator not in ("=", "!=", "=~", "!~"):
                self._refuse(operator)
            value = self._kind("string")[1:-1]
            if "\\" in value:
                self._refuse(value, "escapes are not evaluated here")
            yield Matcher(label=label, operator=operator, value=value)
            if not self._accept(","):
                self._expect("}")
                return

    def _names(self) -> tuple[str, ...]:
        self._expect("(")
        names = [self._kind("word")]
        while self._accept(","):
            names.append(self._kind("word"))
        self._expect(")")
        return tuple(names)
