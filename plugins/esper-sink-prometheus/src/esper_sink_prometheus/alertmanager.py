"""A configuration for Alertmanager, which groups what Prometheus finds and tells people."""

import json
from urllib.parse import urlsplit

#: Alerts of a run that have the same name are told together. Fast burns say what slower ones would say again.
_FILE = """\
# Made by `esper prometheus alertmanager`.
route:
  receiver: esper
  group_by: [alertname, run]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 4h
inhibit_rules:
  - source_matchers: ['alertname=~"EsperSlo.*Fast"']
    target_matchers: ['alertname=~"EsperSlo.*(Slow|Steady)"']
    equal: [run, slo]
receivers:
  - name: esper
    webhook_configs:
      - url: $url
        send_resolved: true
"""


def alertmanager_file(webhook: str) -> str:
    """Return the configuration, in YAML.

    Args:
        webhook: the address that alerts are posted to.

    Raises:
        ValueError: it is no http or https address.
    """
    parts = urlsplit(webhook)
    if parts.scheme not in ("http", "https") or not parts.hostname or not webhook.isprintable():
        raise ValueError("it is no http or https address")
    return _FILE.replace("$url", json.dumps(webhook))
