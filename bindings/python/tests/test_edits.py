"""Edits: the same images as on the command line, and clear errors."""

import numpy as np
import PIL.Image
import pytest

PROMPT = "a red circle left of a green ring"
SEARCH = {"method": "best-of-n", "n": 2}


@pytest.fixture(scope="module")
def original(pipeline) -> PIL.Image.Image:
    return pipeline.generate("a red circle left of a blue star", method="raw", seed=3).image


@pytest.fixture(scope="module")
def mask() -> PIL.Image.Image:
    """The right half is white."""
    values = np.zeros((64, 64), np.uint8)
    values[:, 32:] = 255
    return PIL.Image.fromarray(values)


def test_a_part_is_generated_again_as_on_the_command_line(
    pipeline, command_line, original, mask, tmp_path
):
    original.save(tmp_path / "original.png")
    mask.save(tmp_path / "mask.png")
    command_line(
        "generate", PROMPT, "--image", tmp_path / "original.png", "--mask", tmp_path / "mask.png",
        "--method", "best-of-n", "--n", 2, "--seed", 9, "--out", tmp_path / "edited.png",
    )  # fmt: skip
    result = pipeline.generate(PROMPT, seed=9, image=original, mask=mask, **SEARCH)
    assert result.png() == (tmp_path / "edited.png").read_bytes()
    called = pipeline(PROMPT, generator=9, image=original, mask_image=mask, **SEARCH)
    assert called.results[0].png() == result.png()
    apart = np.abs(np.asarray(result.image, float) - np.asarray(original, float)).mean((0, 2))
    assert apart[:16].mean() < 6 and apart[32:].mean() > 12


def test_masks_may_be_arrays_or_transparent(pipeline, original, mask):
    transparent = original.convert("RGBA")
    transparent.putalpha(PIL.Image.eval(mask, lambda value: 255 - value))
    masks = [mask, np.asarray(mask), np.asarray(mask) > 0, transparent, mask.convert("P")]
    edits = [
        pipeline.generate(PROMPT, seed=9, image=np.asarray(original), mask=one, method="raw")
        for one in masks
    ]
    assert all(edit.png() == edits[0].png() for edit in edits)


def test_what_cannot_be_edited_is_refused(pipeline, original, mask):
    def refused(error, match, **arguments):
        with pytest.raises(error, match=match):
            pipeline.generate(PROMPT, **arguments)

    refused(TypeError, "image and mask belong together", image=original)
    refused(TypeError, "image and mask belong together", mask=mask)
    with pytest.raises(TypeError, match="image and mask_image belong together"):
        pipeline(PROMPT, image=original)
    small = mask.resize((32, 32))
    refused(ValueError, "64 x 64 pixels, its mask 32 x 32", image=original, mask=small)
    wide = {"image": original.resize((128, 64)), "mask": mask.resize((128, 64))}
    refused(ValueError, "128 x 64 pixels, but images of 64 x 64", **wide)
    refused(ValueError, "covers less than a fifth of every token", image=original, mask=np.zeros((64, 64), bool))
    refused(ValueError, "the whole image", image=original, mask=np.ones((64, 64), bool))
    numbers = np.zeros((64, 64), np.float32)
    refused(ValueError, "of bool or uint8", image=original, mask=numbers)
    refused(ValueError, "must be an array", image=np.zeros((64, 64), np.uint8), mask=mask)
