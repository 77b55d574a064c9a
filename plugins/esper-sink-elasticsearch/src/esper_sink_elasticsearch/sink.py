"""Send every event of a run to Elasticsearch as a document of its own."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from esper_core.api import EsperError, Event, to_json
from esper_sink_elasticsearch.bulk import Bulk, Entry, in_words
from esper_sink_elasticsearch.client import ApiError, Elasticsearch, TransportError, connect
from esper_sink_elasticsearch.config import ElasticsearchConfig
from esper_sink_elasticsearch.documents import Documents, template

#: Environment variables: the server's address, and the key to it, which no option may hold.
URL, API_KEY = "ESPER_ES_URL", "ESPER_ES_API_KEY"


class ElasticsearchSink:
    """A sink that stores every event once, however often it must be sent.

    Args:
        config: where to.
    """

    def __init__(self, config: ElasticsearchConfig) -> None:
        self._config = config
        self._client: Elasticsearch | None = None
        self._bulk: Bulk | None = None
        self._documents = Documents({})

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Reach the server, and see to the index; a run that goes on removes the events that it repeats.

        Raises:
            EsperError: E504 if there is no address, the server does not answer, or it refuses.
        """
        url = self._address()
        self._documents = Documents(manifest)
        config = self._config
        # The address may hold a password when the environment names it.
        shown = _shown(url)
        try:
            client = connect(url, os.environ.get(API_KEY), config.request_timeout)
        except (ValueError, TypeError) as error:
            raise self._refused(shown, str(error)) from error
        try:
            client.indices.put_index_template(name=config.index, **template(config.index))
            if not client.indices.exists(index=config.index):
                self._create(client)
            if manifest.get("resumed_at") is not None:
                self._forget(client, int(manifest["resumed_at"]))
        except (ApiError, TransportError) as error:
            client.close()
            raise self._refused(shown, in_words(error)) from error
        self._client = client
        self._bulk = Bulk(client, config.index, config.patience)

    def emit(self, events: Sequence[Event]) -> None:
        """Store events.

        Raises:
            RuntimeError: before `open` and after `close`; and if some are not stored, which the message says.
        """
        if self._bulk is None:
            raise RuntimeError('the sink "elasticsearch" is not open')
        self._bulk.store([self._entry(event) for event in events])

    def flush(self) -> None:
        """Do nothing: what was emitted is stored. It is found within the index's refresh interval, a second."""

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        client, self._client = self._client, None
        self._bulk = None
        if client is not None:
            client.close()

    def _entry(self, event: Event) -> Entry:
        return Entry(self._documents.identity(event), to_json(self._documents.document(event)).encode())

    def _address(self) -> str:
        if self._config.url is None:
            if not (url := os.environ.get(URL)):
                what = 'the sink "elasticsearch" has no server'
                raise EsperError("E504", what, fix=f"set sinks.elasticsearch.url, or {URL} in the environment")
            return url
        if ":" in self._config.url.rpartition("@")[0].partition("//")[2]:
            what = "the address of Elasticsearch holds a password, which would be written into the run's manifest"
            raise EsperError("E504", what, fix=f"set {URL} or {API_KEY} in the environment")
        return self._config.url

    def _create(self, client: Elasticsearch) -> None:
        """Make the index; another run may be quicker."""
        try:
            client.indices.create(index=self._config.index)
        except ApiError as error:
            if "resource_already_exists" not in str(error):
                raise

    def _forget(self, client: Elasticsearch, first: int) -> None:
        query = {
            "bool": {
                "filter": [
                    {"term": {"run_id": self._documents.run_id}},
                    {"range": {"sequence": {"gte": first}}},
                ]
            }
        }
        index = self._config.index
        client.indices.refresh(index=index)
        client.delete_by_query(index=index, query=query, refresh=True, conflicts="proceed")

    def _refused(self, shown: str, why: str) -> EsperError:
        what = f'the sink "elasticsearch" cannot use "{shown}"'
        return EsperError("E504", what, why=why, fix="set sinks.elasticsearch.url to a server that answers")


def _shown(url: str) -> str:
    """Return an address without what may be secret in it: the user, and all behind the host."""
    scheme, divided, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}" if divided else url.rpartition("@")[2]
