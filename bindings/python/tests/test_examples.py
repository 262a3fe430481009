"""Runs the examples."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_search(tmp_path):
    command = [sys.executable, EXAMPLES / "search.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"best.png", "scales.png", "reddest.png"}
    output = done.stdout
    assert (
        output.count("<ttsvar.Result") == 2
        and "7 scales" in output
        and "after scale 2: cluster pca" in output
    )
