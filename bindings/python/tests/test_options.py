"""Every option through Python, read back from the record of the search."""

import json
from pathlib import Path

import pytest
import ttsvar

CASES = json.loads((Path(__file__).parents[3] / "tests/data/options/cases.json").read_text())
IN_SELECT = {"features": "cluster", "potential": "resample", "lambda": "lambda", "draw": "draw", "above": "above"}


def test_the_cases_set_every_option():
    covered = {name for case in CASES for name in case}
    assert covered == set(ttsvar.OPTIONS) - {"pixels"}


@pytest.mark.parametrize("case", CASES)
def test_every_option_is_recorded(pipeline, case):
    arguments = {"lambda_" if name == "lambda" else name: value for name, value in case.items()}
    trace = pipeline.generate("a red circle", **arguments).trace
    selects = [stage["select"] for stage in trace["plan"].get("stage", [])]
    for name, value in case.items():
        if name in IN_SELECT:
            found = [select[IN_SELECT[name]] for select in selects if IN_SELECT[name] in select]
            assert found and set(found) == {value}, name
        elif name == "plan":
            assert trace["plan"] == value
        elif name in ("enough", "finish"):
            assert trace["plan"].get(name, 1) == value
        elif name == "verifier":
            assert all(stage.get(name, "image") == value for stage in trace["plan"]["stage"])
        elif name == "budget":
            assert trace["settings"][name] == value
            assert trace["plan"]["rounds"] >= 1
        elif name in ("seed", "negative", "preview"):
            assert trace[name] == value
        else:
            assert trace["settings"][name] == value, name
