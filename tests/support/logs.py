"""The log of a run."""

import json
from pathlib import Path


def log_rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def repeatable(run: Path) -> list[dict]:
    """The rows that another run with the same flags writes too: all but the times."""
    return [row for row in log_rows(run) if row["kind"] != "pace"]
