"""TensorBoard reads the event files of `ttsvar eval --log tensorboard`."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

PROGRAM = os.environ["TTSVAR_BIN"]


def evaluate(folder: Path, *flags: str) -> None:
    grid = ["--methods", "raw,best-of-n", "--n", "1,2", "--consistency", "0"]
    command = [PROGRAM, "eval", "scenes", "--quiet", "--out", str(folder), "--log", "tensorboard"]
    sizes = ["--prompts", "6", "--samples", "1"]
    subprocess.run([*command, *grid, *sizes, *flags], check=True, stdout=subprocess.DEVNULL)


def check(folder: Path) -> None:
    runs = EventMultiplexer().AddRunsFromDirectory(str(folder / "tensorboard"))
    runs.Reload()
    found = {name: tags["scalars"] for name, tags in runs.Runs().items()}
    by_n = {"by-n/raw", "by-n/best-of-n"}
    progress = {"progress/raw-1", "progress/best-of-n-1", "progress/best-of-n-2"}
    assert set(found) == by_n | progress, found
    rows = list(csv.DictReader((folder / "curves.csv").open()))
    assert [(row["method"], row["n"]) for row in rows] == [
        ("raw", "1"),
        ("best-of-n", "1"),
        ("best-of-n", "2"),
    ]
    for row in rows:
        for tag in found[f"by-n/{row['method']}"]:
            scalars = runs.Scalars(f"by-n/{row['method']}", tag)
            at_n = [scalar.value for scalar in scalars if scalar.step == int(row["n"])]
            expected = float(row[tag])
            assert len(at_n) == 1 and abs(at_n[0] - expected) <= 1e-6 * abs(expected), (tag, at_n)
        assert {"overall", "cost/flops", "score"} <= set(found[f"by-n/{row['method']}"])
        (tag,) = found[f"progress/{row['method']}-{row['n']}"]
        steps = runs.Scalars(f"progress/{row['method']}-{row['n']}", tag)
        assert [scalar.step for scalar in steps] == list(range(1, 7)), steps
        assert all(0 <= scalar.value <= 1 for scalar in steps)


folder = Path(sys.argv[1])
evaluate(folder)
check(folder)
evaluate(folder, "--resume")
check(folder)
