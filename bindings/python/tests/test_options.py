"""Every option through Python, read back from the record of the search."""

import json
from pathlib import Path

import numpy as np
import pytest
import ttsvar

CASES = json.loads((Path(__file__).parents[3] / "tests/data/options/cases.json").read_text())
IN_SELECT = {"features": "cluster", "potential": "resample", "lambda": "lambda", "draw": "draw", "above": "above"}


def test_the_cases_set_every_option():
    covered = {name for case in CASES for name in case}
    refused = {"pixels", "class", "more_smooth", "questions", "question_mean"}
    refused |= {"decoder_steps", "preview_steps", "decoder_cfg", "as_released"}
    assert covered == set(ttsvar.OPTIONS) - refused


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
            assert name not in trace["settings"]
            assert trace["plan"]["rounds"] == len(trace["finals"])
        elif name == "sampling":
            assert value == "infinity-eval" and name not in trace["settings"]
            assert [trace["settings"][key] for key in ("cfg", "top_p", "top_k")] == [4, 0.97, 900]
        elif name in ("seed", "negative", "preview"):
            assert trace[name] == value
        else:
            assert trace["settings"][name] == value, name


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_numbers_may_differ_between_scales(pipeline, kind):
    trace = pipeline.generate("a star", method="raw", seed=1, tau=kind([1.0, 0.5])).trace
    assert trace["settings"]["tau"] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("tau", "message"),
    [
        ([1, "warm"], 'tau at scale 1 is "warm", expected a number'),
        ([1, float("nan")], "tau at scale 1 must be 0.000001 or more, found NaN"),
        ([1] * 8, "tau has 8 values, but the model has 7 scales"),
    ],
)
def test_a_wrong_list_is_refused(pipeline, tau, message):
    with pytest.raises(ValueError, match=message):
        pipeline.generate("a star", tau=tau)


def test_a_layout_may_be_a_dictionary_a_text_or_a_file(pipeline, tmp_path):
    layout = {"concept": [{"text": "a star", "box": [0.0, 0.0, 0.5, 1.0]}]}
    file = tmp_path / "layout.json"
    file.write_text(json.dumps(layout))
    for steer in (layout, json.dumps(layout), file, str(file)):
        trace = pipeline.generate("a star left of a ring", method="raw", seed=1, steer=steer).trace
        assert trace["settings"]["steer"] == layout
        assert trace["steering"]["layouts"] == [layout["concept"]]
        assert trace["candidates"][0]["layout"] == 0


def test_a_layout_must_fit_the_prompt(pipeline):
    layout = {"concept": [{"text": "a cat", "box": [0, 0, 1, 1]}]}
    with pytest.raises(ValueError, match="not in the prompt: `a cat`"):
        pipeline.generate("a star", steer=layout)
    with pytest.raises(ValueError, match="unknown key `boxes`"):
        pipeline.generate("a star", steer={"boxes": []})
