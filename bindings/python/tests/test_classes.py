"""A model of classes: `class_` in place of a prompt."""

from pathlib import Path

import numpy as np
import pytest

import ttsvar

@pytest.fixture(scope="module")
def classes(class_bundle: Path) -> ttsvar.Pipeline:
    return ttsvar.Pipeline.load(str(class_bundle))


def test_a_class_stands_in_place_of_a_prompt(classes):
    assert len(classes.classes) == 20
    assert classes.words is None
    by_number = classes.generate(class_=3, method="raw", seed=5)
    by_name = classes.generate(class_="Class 3", method="raw", seed=5)
    of_numpy = classes.generate(class_=np.int64(3), method="raw", seed=5)
    assert by_number.trace["prompt"] == "a photo of a class 3"
    assert by_number.trace["settings"]["class"] == 3
    assert by_number.image == by_name.image == of_numpy.image


def test_prompts_and_unknown_classes_are_refused(classes, pipeline):
    for arguments in ({"prompt": "a cat"}, {"class_": 20}, {"class_": "cat"}, {}):
        with pytest.raises(ValueError):
            classes.generate(**arguments)
    assert pipeline.classes is None
    for arguments in ({"class_": 3}, {}):
        with pytest.raises(ValueError):
            pipeline.generate(**arguments)
