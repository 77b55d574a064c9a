"""Tell recorded events to `jsonl` and `sqlite` until killed: `python killed_writer.py DIRECTORY`; a line per event."""

import sys

from recorded import NAME, recorded_events

from esper_nissa.hub import Hub
from esper_sink_jsonl.config import JsonlConfig
from esper_sink_jsonl.sink import JsonlSink
from esper_sink_sqlite.config import SqliteConfig
from esper_sink_sqlite.sink import SqliteSink

hub = Hub({"jsonl": JsonlSink(JsonlConfig()), "sqlite": SqliteSink(SqliteConfig())})
hub.open({"name": NAME, "directory": sys.argv[1]})
for event in recorded_events():
    hub.emit(event)
    print(hub.next_number, flush=True)
