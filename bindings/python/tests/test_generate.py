"""Searches from Python: the same images as on the command line, and errors as exceptions."""

import importlib.metadata
import os
import signal
import sys
import threading
import time
import warnings
from typing import get_args

import numpy as np
import PIL.Image
import pytest

import ttsvar

PLAN = """
start = 3
[[stage]]
scale = 4
width = 2
select = { top = 2 }
"""


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ([], {}),
        (["--method", "tts-var", "--n", 2], {"method": "tts-var", "n": 2}),
        (
            ["--method", "best-of-n", "--n", 3, "--cfg", 2.5],
            {"method": "best-of-n", "n": 3, "cfg": 2.5},
        ),
        (
            [
                "--method",
                "tts-var",
                "--features",
                "pool",
                "--potential",
                "diff",
                "--lambda",
                2.5,
                "--draw",
                "systematic",
                "--preview",
                40,
            ]
            + ["--tau", 0.61, "--top-p", 0.9, "--schedule", "paper", "--negative", "blue"],
            {
                "features": "pool",
                "potential": "diff",
                "lambda_": 2.5,
                "draw": "systematic",
                "preview": 40,
            }
            | {"tau": 0.61, "top_p": 0.9, "negative": "blue"}
            | {"method": "tts-var", "schedule": "paper"},
        ),
    ],
)
def test_images_equal_those_of_the_command_line(pipeline, command_line, tmp_path, flags, arguments):
    command_line(
        "generate", "two red circles", "--seed", 11, "--out", tmp_path / "line.png", *flags
    )
    result = pipeline.generate("two red circles", seed=11, **arguments)
    result.save(tmp_path / "python.png")
    assert (tmp_path / "python.png").read_bytes() == (tmp_path / "line.png").read_bytes()
    assert np.array_equal(
        np.asarray(PIL.Image.open(tmp_path / "line.png")), np.asarray(result.image)
    )


def test_versions_agree(command_line):
    assert command_line("--version").stdout.split() == ["ttsvar", ttsvar.__version__]
    assert importlib.metadata.version("ttsvar") == ttsvar.__version__


def test_a_result_has_image_trace_scores_and_seed(pipeline):
    result = pipeline.generate("a blue star", method="best-of-n", n=3, seed=5)
    assert (result.seed, result.trace["schema"]) == (5, "ttsvar.trace/1")
    assert result.image.mode == "RGB" and len(result.images) == len(result.scores) == 3
    assert result.score == max(result.scores)
    assert result.trace["settings"]["method"] == "best-of-n"
    scores = pipeline.score("a blue star", result.images)
    assert scores.dtype == np.float32 and np.array_equal(scores, np.float32(result.scores))
    assert pipeline.score("a blue star", np.asarray(result.image))[0] == np.float32(result.score)
    assert "a blue star" in repr(result)


def test_seeds_are_random_by_default(pipeline):
    results = [pipeline.generate("a ring", method="raw") for _ in range(2)]
    assert results[0].seed != results[1].seed
    again = pipeline.generate("a ring", method="raw", seed=results[0].seed)
    assert again.image.tobytes() == results[0].image.tobytes()


def test_plans_are_dictionaries_texts_or_paths(pipeline, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    stage = {"scale": 4, "width": 2, "select": {"top": 2}}
    plans = [PLAN, path, str(path), {"start": 3, "stage": [stage]}]
    files = [pipeline.generate("a cross", plan=plan, seed=1).png() for plan in plans]
    assert len(set(files)) == 1
    with pytest.raises(ValueError, match="a plan already sets the method"):
        pipeline.generate("a cross", plan=PLAN, n=2)
    with pytest.raises(ValueError, match="scale 4: .* cannot make 9 rows from 3"):
        pipeline.generate(
            "a cross",
            plan={"start": 3, "stage": [{**stage, "width": 9, "select": {"cluster": "pca"}}]},
        )


@pytest.mark.parametrize(
    ("arguments", "kind", "message", "note"),
    [
        (
            {"method": "fastest"},
            ValueError,
            "`method`: unknown value `fastest`",
            "expected one of `raw`",
        ),
        ({"n": 0}, ValueError, "n must be 1 or more", "leave it out"),
        ({"n": -1}, ValueError, "n is -1, expected a non-negative integer", None),
        ({"n": "two"}, ValueError, 'n is "two", expected a non-negative integer', None),
        (
            {"plan": "no/such/plan.toml"},
            FileNotFoundError,
            "no/such/plan.toml",
            "check that the path exists",
        ),
        ({"pixels": "1M"}, ValueError, "only generates images of", "leave"),
        ({"cfg": float("nan")}, ValueError, "cfg must be a finite number", "a typical value is 3"),
        ({"seed": -2}, ValueError, "seed must be from 0", None),
        ({"seed": 2**64}, ValueError, "seed must be from 0", None),
        ({"seed": "7"}, ValueError, "seed must be an integer, found '7'", None),
        ({"seed": 1.5}, ValueError, "seed must be an integer", None),
        ({"method": "bon"}, ValueError, "unknown value `bon`", "did you mean `best-of-n`?"),
    ],
)
def test_errors_are_exceptions_with_the_hint_as_a_note(pipeline, arguments, kind, message, note):
    with pytest.raises(kind, match=message) as caught:
        pipeline.generate("a ring", **arguments)
    notes = getattr(caught.value, "__notes__", [str(caught.value)])
    assert note is None or any(note in text for text in notes), notes


def test_missing_models_are_named(tmp_path):
    with pytest.raises(ValueError, match="unknown model `nothing`"):
        ttsvar.Pipeline.load("nothing")
    with pytest.raises(ValueError, match="missing: infinity_2b"):
        ttsvar.Pipeline.load("infinity-2b", weights=tmp_path)
    with pytest.raises(ValueError, match="unknown data type `f64`"):
        ttsvar.Pipeline.load("demo", dtype="f64")
    with pytest.raises(ValueError, match="the prompt is empty"):
        ttsvar.Pipeline.load("demo").generate("  ")


def test_unknown_words_are_reported(pipeline):
    assert pipeline.unknown_words("a red corgi") == ["corgi"]
    assert "red" in pipeline.words
    with pytest.warns(ttsvar.SearchWarning, match="these words of the prompt: corgi") as seen:
        result = pipeline.generate("a red corgi", method="raw", seed=1)
    assert seen[0].filename == __file__ and len(seen) == len(result.trace["warnings"]) == 1


def test_a_prompt_that_is_cut_is_reported(pipeline):
    long = "a red circle " * 300 + "and a blue star"
    with pytest.warns(ttsvar.SearchWarning) as seen:
        result = pipeline.generate(long, method="raw", seed=1)
    texts = [str(warning.message) for warning in seen]
    assert texts[0].startswith("the text encoder T5 reads only the first 512 tokens of the prompt")
    assert texts[1].startswith("the scorer demo-reward reads only the first 35 tokens")
    assert all(long.endswith(warning["dropped"]) for warning in result.trace["warnings"])


def test_no_warning_without_a_cause(pipeline):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.generate("a red circle", method="raw", seed=1)


def test_bf16_works():
    result = ttsvar.Pipeline.load("demo", dtype="bf16").generate("a ring", method="raw", seed=1)
    assert result.image.size == (64, 64)


def test_events_report_the_progress(pipeline):
    events = []
    search = {"method": "tts-var", "seed": 2}
    result = pipeline.generate("a ring", **search, on_event=events.append, decode_all=True)
    names = [event["event"] for event in events]
    scales = len(result.trace["scales"])
    assert (names[0], names[-1]) == ("started", "winner")
    assert names.count("scale") == names.count("candidates") == names.count("decoded") == scales
    decoded = next(event for event in events if event["event"] == "decoded")
    assert decoded["images"].shape == (8, 64, 64, 3) and decoded["images"].dtype == np.uint8
    chosen = [event for event in events if event["event"] == "selection"]
    assert [event["scale"] for event in chosen] == [
        stage["scale"] for stage in result.trace["stages"]
    ]
    assert np.array_equal(events[-1]["image"], np.asarray(result.image))
    watched = pipeline.generate("a ring", **search)
    assert watched.image.tobytes() == result.image.tobytes()


def test_an_exception_of_a_listener_ends_the_search(pipeline):
    class Enough(Exception):
        pass

    received = []

    def listen(event):
        received.append(event["event"])
        if event.get("scale") == 1:
            raise Enough("of it")

    with pytest.raises(Enough, match="of it"):
        pipeline.generate("a ring", seed=2, on_event=listen)
    assert "winner" not in received and received[-1] == "scale"


def test_other_threads_run_during_a_search(pipeline):
    turns, stop = [0], threading.Event()

    def turn():
        while not stop.is_set():
            turns[0] += 1
            time.sleep(0)  # releases the lock

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # no thread is forced to release the lock
    other = threading.Thread(target=turn)
    try:
        other.start()
        before = turns[0]
        pipeline.generate("a ring", method="raw", seed=1)
        meanwhile = turns[0] - before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        other.join()
    assert meanwhile > 0


def test_methods_are_those_of_the_library(pipeline):
    for method in get_args(ttsvar.Method):
        assert pipeline.generate("a ring", method=method, seed=1).score > -10
    with pytest.raises(ValueError, match="unknown value") as caught:
        pipeline.generate("a ring", method="other")
    names = "".join(getattr(caught.value, "__notes__", [str(caught.value)]))
    assert all(f"`{method}`" in names for method in get_args(ttsvar.Method))


def test_a_result_is_not_saved_under_the_name_of_another_format(pipeline, tmp_path):
    result = pipeline.generate("a ring", method="raw", seed=-1)
    for name in ["a.jpg", "a.JPEG", "a.webp", "a.json"]:
        with pytest.raises(ValueError, match="expected the name of a .png file"):
            result.save(tmp_path / name)
    result.save(tmp_path / "a.PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.PNG"]


def test_ctrl_c_ends_a_search_within_a_scale(pipeline):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            threading.Timer(1.0, interrupt).start()
            # No Python code runs during this search, and its last scale alone takes seconds.
            pipeline.generate("a ring", method="best-of-n", n=2048, seed=1)
        took = time.monotonic() - sent[0]
    finally:
        signal.signal(signal.SIGINT, before)
    assert took < 1, took


def test_ctrl_c_ends_a_running_search(pipeline):
    events = []
    # Shells start background jobs with SIGINT ignored, and Python then leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            # `list.append` runs no Python code, so the interpreter itself does not check for signals
            pipeline.generate("a ring", method="best-of-n", n=256, seed=1, on_event=events.append)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "winner" not in [event["event"] for event in events]
