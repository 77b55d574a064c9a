"""Failures that a plugin's author expects, each with its reason."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from esper_core.leyline.errors import EsperError, did_you_mean


@frozen(kw_only=True)
class Expectations:
    """Which checks are expected to fail, and why.

    Attributes:
        reasons: by a check's id, for the plugin and all of its components.
        of_component: by a component's name, reasons by a check's id.
        file: where they are written.
    """

    reasons: Mapping[str, str] = field(factory=dict)
    of_component: Mapping[str, Mapping[str, str]] = field(factory=dict)
    file: str | None = None

    @classmethod
    def read(cls, path: Path) -> "Expectations":
        """Read a TOML file: ``check-id = "reason"``, under ``[component-name]`` for one component only.

        Raises:
            EsperError: E203 if it cannot be read, E202 for a reason that is not text or empty.
        """
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EsperError(
                "E203", "the file of expected failures cannot be read", where=str(path), why=str(error)
            ) from error
        return cls._from_data(data, str(path))

    @classmethod
    def of(cls, written: Mapping[str, Any] | Path) -> "Expectations":
        """Return what a file, or a mapping with what such a file holds, expects. Raises as `read`."""
        return cls.read(written) if isinstance(written, Path) else cls._from_data(written, None)

    @classmethod
    def _from_data(cls, data: Mapping[str, Any], file: str | None) -> "Expectations":
        tables = {name: value for name, value in data.items() if isinstance(value, Mapping)}
        reasons = {key: value for key, value in data.items() if key not in tables}
        for name, table in {"": reasons, **tables}.items():
            _require_text(table, name, file)
        return cls(reasons=reasons, of_component=tables, file=file)

    def reason(self, check: str, component: str | None) -> str | None:
        """Return why this check is expected to fail, None if it is not."""
        own = self.of_component.get(component or "", {})
        return own.get(check, self.reasons.get(check))

    def require_known(self, checks: Iterable[str], components: Iterable[str]) -> None:
        """Check that every name exists.

        Raises:
            EsperError: E202 for a check or a component that does not.
        """
        known, names = list(checks), list(components)
        for name in self.of_component:
            if name not in names:
                self._refuse(f'no component is called "{name}"', did_you_mean(name, names))
        for id in [*self.reasons, *(id for reasons in self.of_component.values() for id in reasons)]:
            if id not in known:
                self._refuse(f'no check is called "{id}"', did_you_mean(id, known))

    def _refuse(self, what: str, fix: str) -> None:
        raise EsperError("E202", what, where=self.file, fix=fix)


def _require_text(reasons: Mapping[str, Any], table: str, file: str | None) -> None:
    for key, value in reasons.items():
        if not isinstance(value, str) or not value.strip():
            name = f"{table}.{key}" if table else key
            raise EsperError(
                "E202", f'the value of "{name}" is not valid', where=file, fix=f'{key} = "why it is expected"'
            )
