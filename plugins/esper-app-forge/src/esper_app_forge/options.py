"""The options that several commands of the forge have."""

import click

store_option = click.option(
    "--store",
    "url",
    metavar="URL",
    envvar="ESPER_STORE",
    default="local:",
    help="The store: local:PATH, or what other plugins offer.  [default: ESPER_STORE, or local:]",
)

timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=1.0), default=600.0, show_default=True, help="Seconds for each job."
)
