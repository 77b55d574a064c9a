"""Writes down what the policy `compute` sees in a run: `python record.py RUN > recorded/NAME.json`.

The log must hold the epochs (sink `jsonl`, telemetry as it is by default). Where another policy has kept a seed, the
trial is written down as if it were still going on: the network is the same, only the account of its operations differs.
"""

import json
import sys
from pathlib import Path
from typing import Any

KEPT = ("slot", "age_epochs", "settled_epochs", "alpha")


def rows(run: Path) -> list[dict[str, Any]]:
    """Return one row for each epoch, with what was known in front of it."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    decided: dict[int, dict[str, Any]] = {}
    for line in (run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["kind"] == "epoch_completed":
            found[event["host"], event["epoch"]] = event["data"]
        elif event["kind"] == "action_decided" and event["host"] == "grown":
            decided[event["epoch"]] = event["data"]
    return [
        _held_open(found, epoch)
        | {
            "epoch": epoch,
            "loss": found["grown", epoch - 1]["validation"]["loss"],
            "twin_loss": found["twin", epoch - 1]["validation"]["loss"],
            "parameters": found["grown", epoch - 1]["parameters"],
            "op": decided[epoch]["op"],
            "reason": decided[epoch]["reason"],
        }
        for epoch in sorted(decided)
        if epoch and ("twin", epoch - 1) in found
    ]


def _held_open(found: dict[tuple[str, int], dict[str, Any]], epoch: int) -> dict[str, Any]:
    """Stages, seeds and operations in front of an epoch, with every seed that was kept still on trial."""
    grown, twin = found["grown", epoch - 1], found["twin", epoch - 1]
    compute, stages, seeds = dict(grown["compute"]), dict(grown["slots"]), {}
    for at in range(epoch):
        for seed in found["grown", at].get("seeds") or ():
            seeds[seed["slot"]] = {key: seed[key] for key in KEPT} | {"at": at}
    for slot, stage in stages.items():
        if stage == "FOSSILIZED":
            stages[slot] = "PROBATIONARY"
            since = epoch - 1 - seeds[slot]["at"]
            seeds[slot]["age_epochs"] += since
            seeds[slot]["settled_epochs"] += since
    if stages != grown["slots"]:
        # What the network's training costs beyond that of the host is the seeds'.
        compute["candidates"] += compute["training"] - twin["compute"]["training"]
        compute["training"] = twin["compute"]["training"]
    live = [seed for slot, seed in seeds.items() if stages[slot] not in ("DORMANT", "CULLED", "EMBARGOED", "RESETTING")]
    return {"compute": compute, "stages": stages, "seeds": [{key: it[key] for key in KEPT} for it in live]}


def main() -> None:
    run = Path(sys.argv[1])
    result = json.loads((run / "result.json").read_text())
    config = json.loads((run / "events.jsonl").read_text().splitlines()[0])["data"]["config"]
    gain = (result["compute_difference"] or {}).get("test_gain")
    recorded = {
        "epochs": config["epochs"],
        "host_parameters": result["hosts"]["grown"]["host_parameters"],
        "gain_at_equal_compute": gain,
        "rows": rows(run),
    }
    print(json.dumps(recorded, indent=1))


if __name__ == "__main__":
    main()
