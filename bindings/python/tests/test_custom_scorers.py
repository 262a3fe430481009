"""Custom scorers and feature extractors, and released scorers by name."""

import numpy as np
import pytest

import ttsvar


def redness(prompt, images):
    """The mean difference between red and green of each image."""
    assert prompt == "a circle" and images.dtype == np.uint8 and images.shape[1:] == (64, 64, 3)
    return images[..., 0].mean((1, 2)) - images[..., 1].mean((1, 2))


def mean_colour(images):
    return images.mean((1, 2))


def test_a_scorer_chooses_the_winner(pipeline):
    result = pipeline.generate("a circle", method="best-of-n", n=4, seed=1, scorer=redness)
    batches = [np.asarray(image)[None] for image in result.images]
    expected = [float(np.float32(redness("a circle", batch)[0])) for batch in batches]
    assert result.scores == pytest.approx(expected) and result.score == max(result.scores)
    assert result.trace["settings"]["scorer"].endswith("redness")
    usual = pipeline.generate("a circle", method="best-of-n", n=4, seed=1)
    assert [image.tobytes() for image in usual.images] == [
        image.tobytes() for image in result.images
    ]
    assert usual.scores != result.scores


def test_an_extractor_replaces_the_features(pipeline):
    batches = []

    def extract(images):
        batches.append(images)
        return mean_colour(images)

    result = pipeline.generate("a circle", method="tts-var", seed=1, extractor=extract)
    clusterings = [stage for stage in result.trace["stages"] if "clusters" in stage]
    assert (
        [len(batch) for batch in batches] == [len(stage["ids"]) for stage in clusterings] == [8, 6]
    )
    assert "extract" in result.trace["settings"]["extractor"]
    # Each candidate that the first stage keeps lies nearest to the mean of its cluster
    first, features = clusterings[0], mean_colour(batches[0])
    for row in first["kept"]:
        cluster = first["clusters"][row]
        members = features[[i for i, other in enumerate(first["clusters"]) if other == cluster]]
        distances = np.linalg.norm(members - members.mean(0), axis=1)
        assert np.linalg.norm(features[row] - members.mean(0)) <= distances.min() + 1e-3


def test_images_of_custom_scorers_are_not_repeated_without_them(pipeline, command_line, tmp_path):
    pipeline.generate("a circle", method="best-of-n", n=2, seed=1, scorer=redness).save(
        tmp_path / "red.png"
    )
    done = command_line(
        "generate", "--from", tmp_path / "red.png", "--out", tmp_path / "b.png", check=False
    )
    assert done.returncode == 2 and "test_custom_scorers.redness" in done.stderr


@pytest.mark.parametrize(
    ("callables", "message"),
    [
        (
            {"scorer": lambda prompt, images: images.mean((1, 2))},
            r"scorer returned: .* shape \(1,\), found \(1, 3\)",
        ),
        ({"scorer": lambda prompt, images: [1.0, 2.0]}, r"scorer returned: .* found \(2,\)"),
        (
            {"extractor": lambda images: images.mean((1, 2, 3))},
            r"extractor returned: .* \(8, D\), found \(8,\)",
        ),
        ({"extractor": lambda images: np.zeros((8, 0))}, r"found \(8, 0\)"),
        (
            {"extractor": lambda images: "dark"},
            "extractor returned: .* could not convert string to float",
        ),
        ({"scorer": lambda prompt, images: None}, r"scorer returned: .* \(1,\), found None"),
        ({"scorer": lambda prompt, images: ["a"]}, "scorer returned: .* could not convert"),
        ({"scorer": lambda prompt, images: [{}]}, "scorer returned: .* something else"),
    ],
)
def test_results_of_the_wrong_shape_are_refused(pipeline, callables, message):
    method = {"method": "raw" if "scorer" in callables else "tts-var"}
    with pytest.raises(ValueError, match=message):
        pipeline.generate("a circle", seed=1, **method, **callables)


def test_exceptions_of_a_scorer_pass_through_with_their_traceback(pipeline):
    def scorer(prompt, images):
        raise LookupError("no opinion")

    with pytest.raises(LookupError, match="no opinion") as caught:
        pipeline.generate("a circle", method="raw", seed=1, scorer=scorer)
    assert any(entry.name == "scorer" for entry in caught.traceback)


def test_scores_that_are_not_numbers_cause_a_warning(pipeline):
    events = []
    with pytest.warns(ttsvar.SearchWarning, match="1 score is NaN or minus infinity"):
        result = pipeline.generate(
            "a circle",
            method="best-of-n",
            n=2,
            seed=1,
            scorer=lambda prompt, images: [float("nan"), 1.0],
            on_event=events.append,
        )
    assert result.best == 1 and np.isnan(result.scores[0])
    assert any(event["event"] == "warning" for event in events)


def test_a_winner_without_a_score_is_not_silent(pipeline):
    with pytest.warns(ttsvar.SearchWarning, match="2 scores are NaN .* check the scorer"):
        result = pipeline.generate(
            "a circle",
            method="best-of-n",
            n=2,
            seed=1,
            scorer=lambda prompt, images: [float("nan")] * len(images),
        )
    assert np.isnan(result.score)


@pytest.mark.parametrize("scorer", ["aesthetic", "clip=1,aesthetic=2"])
def test_scorers_by_name_score_as_on_the_command_line(command_line, downloads, tmp_path, scorer):
    flags = [
        "--seed",
        4,
        "--method",
        "best-of-n",
        "--n",
        3,
        "--weights",
        downloads,
        "--scorer",
        scorer,
    ]
    command_line("generate", "a red circle", "--out", tmp_path / "line.png", *flags)
    scored = ttsvar.Pipeline.load("demo", weights=downloads, scorer=scorer)
    result = scored.generate("a red circle", seed=4, method="best-of-n", n=3)
    assert result.png() == (tmp_path / "line.png").read_bytes()
    custom = scored.generate("a circle", seed=4, method="raw", scorer=redness)
    settings = custom.trace["settings"]
    assert "scorers" not in settings and settings["scorer"].endswith("redness")


def test_a_name_is_not_a_callable(pipeline):
    with pytest.raises(TypeError, match=r"Pipeline.load\(..., scorer='clip'\) takes names"):
        pipeline.generate("a circle", scorer="clip")
    with pytest.raises(ValueError, match="unknown scorer `beauty`"):
        ttsvar.Pipeline.load("demo", scorer="beauty")
