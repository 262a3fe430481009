"""Pipelines as users of diffusers know them."""

import pickle
import threading

import numpy as np
import PIL.Image
import pytest

import ttsvar

RAW = {"method": "raw"}


class TorchGenerator:
    """Has a seed as `torch.Generator` has."""

    def __init__(self, seed):
        self.seed = seed

    def initial_seed(self):
        return self.seed


def pixels(images):
    return [image.tobytes() for image in images]


def test_a_call_is_a_search(pipeline):
    output = pipeline("a red circle", "blue", 2.5, generator=7, method="best-of-n", n=2)
    result = pipeline.generate(
        "a red circle", negative="blue", cfg=2.5, seed=7, method="best-of-n", n=2
    )
    assert pixels(output.images) == [result.image.tobytes()]
    assert output.results[0].trace["settings"] == result.trace["settings"]
    assert output.results[0].trace["negative"] == "blue"


def test_several_images_of_a_prompt_have_consecutive_seeds(pipeline):
    output = pipeline(["a star", "a ring"], num_images_per_prompt=2, generator=5, **RAW)
    searches = [("a star", 5), ("a star", 6), ("a ring", 7), ("a ring", 8)]
    expected = [pipeline.generate(prompt, seed=seed, **RAW) for prompt, seed in searches]
    assert pixels(output.images) == pixels(result.image for result in expected)


@pytest.mark.parametrize(
    ("generator", "seeds"),
    [
        (TorchGenerator(3), [3, 4, 5, 6]),
        ([TorchGenerator(3), 9], [3, 4, 9, 10]),
        ([1, 8, 2, 7], [1, 8, 2, 7]),
        (2**64 - 1, [2**64 - 1, 0, 1, 2]),
    ],
)
def test_generators_are_seeds(pipeline, generator, seeds):
    output = pipeline(["a star", "a ring"], num_images_per_prompt=2, generator=generator, **RAW)
    assert [result.seed for result in output.results] == seeds


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"generator": [1, 2, 3]}, ValueError, "3 elements, expected one per prompt"),
        ({"generator": "7"}, TypeError, "found str"),
        ({"generator": 1.5}, TypeError, "`initial_seed\\(\\)` .* found float"),
        ({"output_type": "pt"}, ValueError, "output_type must be 'pil' or 'np'"),
        ({"num_images_per_prompt": 0}, ValueError, "must be 1 or more"),
        ({"guidance_scale": 2.0, "cfg": 2.0}, TypeError, "are the same"),
        ({"negative_prompt": ["blue", "red"]}, ValueError, "2 elements, expected one per prompt"),
        ({"callback_on_step_end_tensor_inputs": ["latents"]}, ValueError, "'latents'"),
        ({"num_steps": 3}, TypeError, "unknown arguments num_steps"),
    ],
)
def test_wrong_arguments_are_refused(pipeline, arguments, kind, message):
    with pytest.raises(kind, match=message):
        pipeline("a ring", **arguments)


def test_shared_images_are_the_best_of_one_search(pipeline):
    output = pipeline(
        "a blue star",
        num_images_per_prompt=3,
        share=True,
        generator=5,
        method="best-of-n",
        n=4,
    )
    (result,) = output.results
    best = sorted(result.scores, reverse=True)[:3]
    scores = [result.scores[place] for place in result.ranking[:3]]
    assert scores == best and result.ranking[0] == result.best
    assert pixels(output.images) == pixels(result.best_images(3)) == pixels(result.best_images())
    with pytest.raises(ValueError, match=r"keep the best 3 images: this search \(raw.*\) finishes"):
        pipeline("a star", num_images_per_prompt=3, share=True, **RAW)


def test_the_best_images_of_a_search_have_their_own_records(pipeline, command_line, tmp_path):
    result = pipeline.generate("a star", method="best-of-n", n=3, seed=4, best=2)
    for rank, place in enumerate(result.ranking[:2], 1):
        result.save(tmp_path / f"python-{rank}.png", place)
    command_line(
        "generate", "a star", "--method", "best-of-n", "--n", 3, "--seed", 4,
        "--best", 2, "--out", tmp_path,
    )  # fmt: skip
    for rank in (1, 2):
        written = (tmp_path / f"a-star-{rank}.png").read_bytes()
        assert (tmp_path / f"python-{rank}.png").read_bytes() == written
    with pytest.raises(ValueError, match="k must be 1 or more"):
        result.best_images(0)


def test_a_search_that_stops_early_says_so(pipeline):
    with pytest.warns(ttsvar.SearchWarning, match="stopped after 1 of 3 images to keep"):
        result = pipeline.generate(
            "a star", method="sequential", n=4, enough=-100, seed=4, best=3
        )
    assert len(result.best_images()) == 1


def test_arrays_are_numbers_from_0_to_1(pipeline):
    arrays = pipeline("a star", num_images_per_prompt=2, generator=1, output_type="np", **RAW).images
    images = pipeline("a star", num_images_per_prompt=2, generator=1, **RAW).images
    assert arrays.shape == (2, 64, 64, 3) and arrays.dtype == np.float32
    assert np.array_equal(np.rint(arrays * 255).astype(np.uint8), np.stack(images))


def test_a_callback_sees_every_scale(pipeline):
    steps = []
    pipeline("a ring", generator=1, callback_on_step_end=lambda *step: steps.append(step), **RAW)
    assert [step[:3] for step in steps] == [(pipeline, scale, scale) for scale in range(7)]
    assert all(step[3] == {} for step in steps)


def test_a_callback_gets_previews_if_it_asks_for_them(pipeline):
    previews = []
    output = pipeline(
        "a ring",
        generator=1,
        callback_on_step_end=lambda pipe, step, scale, kwargs: previews.append(kwargs["images"]),
        callback_on_step_end_tensor_inputs=["images"],
        **RAW,
    )
    assert [preview.shape for preview in previews] == [(1, 64, 64, 3)] * 7
    assert np.array_equal(previews[-1][0], np.asarray(output.images[0]))


def test_a_callback_may_interrupt_a_call(pipeline):
    def interrupt(pipe, step, timestep, kwargs):
        calls.append(timestep)
        pipe.interrupt = len(calls) == 10

    calls = []
    output = pipeline(
        "a ring", num_images_per_prompt=3, generator=1, callback_on_step_end=interrupt, **RAW
    )
    assert len(output.images) == len(output.results) == 1 and calls[-1] == 2
    assert len(pipeline("a ring", generator=1, **RAW).images) == 1
    nothing = pipeline(
        "a ring",
        output_type="np",
        callback_on_step_end=lambda pipe, *_: setattr(pipe, "interrupt", True),
        **RAW,
    )
    assert nothing.images.shape == (0, 0, 0, 3) and nothing.results == []


def test_another_thread_may_interrupt_a_call(pipeline):
    threading.Timer(0.3, setattr, (pipeline, "interrupt", True)).start()
    assert pipeline("a ring", generator=1, method="best-of-n", n=512).images == []


def test_the_same_device_loads_nothing(pipeline):
    system = pipeline._system
    assert pipeline.to("cpu") is pipeline and pipeline._system is system
    assert pipeline.device == "cpu"
    with pytest.raises(ValueError, match="without CUDA|no CUDA device"):
        pipeline.to("cuda")
    with pytest.raises(ValueError, match="unknown device"):
        pipeline.to("tpu")
    assert pipeline.device == "cpu" and pipeline("a ring", **RAW).images


def test_a_notebook_shows_the_winner_and_the_tree(pipeline):
    result = pipeline.generate("a ring", method="tts-var", n=1, seed=2)
    shown = result._repr_html_()
    assert shown.count('src="data:image/png;base64,') == 2 and "score" in shown
    tree = result.tree()
    assert tree.mode == "RGB" and tree.height > 4 * 64
    assert "<html" in result.report()
    with pytest.warns(ttsvar.SearchWarning):
        quoted = pipeline.generate("a ring <b>", method="raw", seed=2)
    assert "a ring <b>" not in quoted._repr_html_()


def test_the_tree_is_that_of_the_command_line(pipeline, command_line, tmp_path):
    search = ["--method", "tts-var", "--n", 1, "--seed", 2]
    tree = tmp_path / "tree.png"
    command_line("generate", "a ring", *search, "--out", tmp_path, "--tree", tree)
    result = pipeline.generate("a ring", method="tts-var", n=1, seed=2)
    assert np.array_equal(np.asarray(PIL.Image.open(tree)), np.asarray(result.tree()))


def test_results_can_be_pickled(pipeline):
    result = pipeline.generate("a ring", method="tts-var", n=1, seed=2)
    again = pickle.loads(pickle.dumps(result))
    assert again == result and again.tree().height > 64


def test_a_bar_shows_a_search_if_asked(pipeline, capsys, monkeypatch):
    monkeypatch.setattr("ttsvar._progress._tqdm", lambda: None)
    pipeline.generate("a ring", seed=1, **RAW)
    assert capsys.readouterr().err == ""
    pipeline.generate("a ring", seed=1, progress=True, **RAW)
    assert "[##############################] 100%" in capsys.readouterr().err
    pipeline.generate("a ring", seed=1, progress=True, budget="2images")
    assert "scales done" in capsys.readouterr().err
    pipeline("a ring", generator=1, progress=True, **RAW)
    assert "100%" in capsys.readouterr().err
