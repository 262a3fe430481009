"""Who judges: feature extractors and scorers of the caller's own, and released scorers by name."""

import numpy as np
import pytest

import ttsvar


def redness(prompt, images):
    """How much redder than green an image is."""
    assert prompt == "a circle" and images.dtype == np.uint8 and images.shape[1:] == (64, 64, 3)
    return images[..., 0].mean((1, 2)) - images[..., 1].mean((1, 2))


def mean_colour(images):
    return images.mean((1, 2))


def test_a_scorer_chooses_the_winner(pipeline):
    result = pipeline.generate("a circle", method="best-of-n", n=4, seed=1, scorer=redness)
    own = [float(np.float32(redness("a circle", np.asarray(image)[None])[0])) for image in result.images]
    assert result.scores == pytest.approx(own) and result.score == max(result.scores)
    assert result.trace["settings"]["scorer"].endswith("redness")
    usual = pipeline.generate("a circle", method="best-of-n", n=4, seed=1)
    assert [image.tobytes() for image in usual.images] == [image.tobytes() for image in result.images]
    assert usual.scores != result.scores


def test_an_extractor_takes_the_place_of_the_features(pipeline):
    batches = []

    def extract(images):
        batches.append(images)
        return mean_colour(images)

    result = pipeline.generate("a circle", seed=1, extractor=extract)
    clusterings = [stage for stage in result.trace["stages"] if "clusters" in stage]
    assert [len(batch) for batch in batches] == [len(stage["ids"]) for stage in clusterings] == [8, 6]
    assert "extract" in result.trace["settings"]["extractor"]
    # Whoever goes on after the first choice lies nearest to the mean of its cluster.
    first, features = clusterings[0], mean_colour(batches[0])
    for row in first["kept"]:
        own = [i for i, cluster in enumerate(first["clusters"]) if cluster == first["clusters"][row]]
        distances = np.linalg.norm(features[own] - features[own].mean(0), axis=1)
        assert np.linalg.norm(features[row] - features[own].mean(0)) <= distances.min() + 1e-3


def test_pictures_with_judges_of_their_own_are_not_repeated_with_others(pipeline, command_line, tmp_path):
    pipeline.generate("a circle", method="best-of-n", n=2, seed=1, scorer=redness).save(tmp_path / "red.png")
    done = command_line("generate", "--from", tmp_path / "red.png", "--out", tmp_path / "b.png", check=False)
    assert done.returncode == 2 and "was chosen by a scorer of its own" in done.stderr


@pytest.mark.parametrize(
    ("judges", "message"),
    [
        ({"scorer": lambda prompt, images: images.mean((1, 2))}, r"scorer returned: .* shape \(1,\), found \(1, 3\)"),
        ({"scorer": lambda prompt, images: [1.0, 2.0]}, r"scorer returned: .* found \(2\)"),
        ({"extractor": lambda images: images.mean((1, 2, 3))}, r"extractor returned: .* \(8, D\), found \(8\)"),
        ({"extractor": lambda images: np.zeros((8, 0))}, r"found \(8, 0\)"),
        ({"extractor": lambda images: "dark"}, "could not convert string to float"),
    ],
)
def test_judges_that_return_something_else_are_refused(pipeline, judges, message):
    method = {"method": "raw"} if "scorer" in judges else {}
    with pytest.raises(ValueError, match=message):
        pipeline.generate("a circle", seed=1, **method, **judges)


def test_what_a_judge_raises_comes_through_with_its_traceback(pipeline):
    def scorer(prompt, images):
        raise LookupError("no opinion")

    with pytest.raises(LookupError, match="no opinion") as caught:
        pipeline.generate("a circle", method="raw", seed=1, scorer=scorer)
    assert any(entry.name == "scorer" for entry in caught.traceback)


def test_scores_that_are_no_numbers_are_warned_of(pipeline):
    events = []
    result = pipeline.generate(
        "a circle",
        method="best-of-n",
        n=2,
        seed=1,
        scorer=lambda prompt, images: [float("nan"), 1.0],
        on_event=events.append,
    )
    assert result.best == 1 and np.isnan(result.scores[0])
    assert any(event["event"] == "warned" for event in events)


@pytest.mark.parametrize("scorer", ["aesthetic", "clip=1,aesthetic=2"])
def test_scorers_by_name_judge_as_on_the_command_line(command_line, downloads, tmp_path, scorer):
    flags = ["--seed", 4, "--method", "best-of-n", "--n", 3, "--weights", downloads, "--scorer", scorer]
    command_line("generate", "a red circle", "--out", tmp_path / "line.png", *flags)
    judged = ttsvar.Pipeline.load("demo", weights=downloads, scorer=scorer)
    result = judged.generate("a red circle", seed=4, method="best-of-n", n=3)
    assert result.png() == (tmp_path / "line.png").read_bytes()
    own = judged.generate("a circle", seed=4, method="raw", scorer=redness)
    assert "scorers" not in own.trace["settings"] and own.trace["settings"]["scorer"].endswith("redness")


def test_a_name_is_no_callable(pipeline):
    with pytest.raises(TypeError, match=r"Pipeline.load\(..., scorer='clip'\) takes names"):
        pipeline.generate("a circle", scorer="clip")
    with pytest.raises(ValueError, match="unknown scorer `beauty`"):
        ttsvar.Pipeline.load("demo", scorer="beauty")
