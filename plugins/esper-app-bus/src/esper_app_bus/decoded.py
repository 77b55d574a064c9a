"""Messages as a person reads them, and what was kept for a bus, sent by hand."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from esper_app.api import PluginOptions, plugin_options

if TYPE_CHECKING:
    from esper_oona.api import Outgoing


def decoded(messages: "Iterable[tuple[int, Outgoing]]") -> Iterator[dict[str, Any]]:
    """Yield messages of a stream as plain data: position, fields of the envelope, and the record by name of field."""
    from esper_core.api import EsperError
    from esper_leyline_proto.conversion import from_bytes
    from esper_messaging.reading import readable
    from esper_oona.api import Envelope

    for position, message in messages:
        try:
            yield {"position": position, **readable(from_bytes(Envelope, message.body))}
        except EsperError as error:
            yield {"position": position, "key": message.key, "error": str(error)}


@click.command(short_help="Send what was kept for a bus that did not answer.")
@click.argument("url")
@plugin_options
def send(url: str, plugin_options: PluginOptions) -> None:
    """Send to URL what runs have kept for it in the outbox of the state directory, because it did not answer.

    URL is as it was given to the run. Exit code 1 if something is still kept.
    """
    # Imported here: `--help` needs none of it.
    from esper_app.api import load_selected
    from esper_messaging.sending import send_kept
    from esper_oona.api import Signer, keyring, open_bus, state_directory
    from esper_runs.printing import echo

    state = state_directory()
    bus = open_bus(url, load_selected(plugin_options).registry)
    sent, left, elsewhere = send_kept(bus, url.partition("?")[0], state, Signer(keyring(state)))
    bus.close()
    echo(f"sent: {sent}")
    if elsewhere and not sent:
        echo(f"{elsewhere} messages are kept for other addresses; give this one as it was given to the run")
    if left:
        raise click.ClickException(f"{left} messages are still kept: another sender has them, or their stream is full")
