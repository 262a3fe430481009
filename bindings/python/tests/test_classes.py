"""A model of classes: `class_` in place of a prompt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import ttsvar
from conftest import RECORDED, ROOT

TOML = """
name = "var-tiny"

[generator]
family = "var"
weights = "var.pth"
vae = "vae.pth"

[scorer]
family = "demo-reward"
weights = "ImageReward.pt"
config = "med_config.json"
vocab = "vocab.txt"
heads = 4
"""


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> ttsvar.Pipeline:
    folder: Path = tmp_path_factory.mktemp("var")
    for name in ("ImageReward.pt", "med_config.json", "vocab.txt"):
        shutil.copy(ROOT / "assets/demo" / name, folder)
    files = json.loads((RECORDED / "var-tiny/config.json").read_text())["files"]
    shutil.copy(RECORDED / "var-tiny" / files["var_shared_aln_false"], folder / "var.pth")
    shutil.copy(RECORDED / "var-tiny" / files["vae"], folder / "vae.pth")
    (folder / "bundle.toml").write_text(TOML)
    return ttsvar.Pipeline.load(folder)


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
