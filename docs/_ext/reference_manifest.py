"""The manifest of a run and a lock, field by field, from the classes of their records."""

import attrs
from reference_markdown import fields_table, page, prose

from esper_app.execution import manifest
from esper_app.locks import lock

INTRO = """\
Every run writes `manifest.json`. It contains everything that must be the same to get the same result. It is JSON; a
value that is not known is `null`. `esper run --locked` accepts a manifest, or the directory of its run, as a lock."""

LOCKS = """\
`esper plugins lock` writes a file with `"kind": "{kind}"`, `"format": {format}`, the `core`, the `plugins`
(each with the fields that it shares with a manifest), and a `digest` over all of them. A file with another format, or
whose content does not match its digest, is refused."""


def manifest_pages() -> dict[str, str]:
    """Return the page about the manifest."""
    shared = [field.name for field in attrs.fields(lock.LockedPlugin)]
    return {
        "manifest.md": page(
            "The manifest of a run",
            INTRO,
            f"The version of the format is {manifest.FORMAT}.",
            fields_table(manifest.Manifest),
            "## A plugin, or the core",
            prose(lock.LockedPlugin.__doc__) + " In a manifest and in a lock:",
            fields_table(lock.LockedPlugin),
            "In a manifest, a plugin also has these fields:",
            fields_table(manifest.PluginEntry, leave_out=shared),
            "The core also has these:",
            fields_table(manifest.CoreEntry, leave_out=shared),
            "## A lock",
            LOCKS.format(kind=lock.LOCK, format=lock.FORMAT),
        )
    }
