"""A model of one-dimensional tokens."""

import json
import shutil
from pathlib import Path

import pytest
import ttsvar
from conftest import RECORDED, ROOT

TOML = """
name = "flexar-tiny"

[generator]
family = "flexar"
weights = "{t2i}"
vae = "{tokenizer}"
vae_groups = 8

[text]
family = "t5"
weights = "{text}"

[scorer]
family = "demo-reward"
weights = "ImageReward.pt"
config = "med_config.json"
vocab = "vocab.txt"
heads = 4
"""


@pytest.fixture(scope="module")
def flexar(tmp_path_factory: pytest.TempPathFactory) -> ttsvar.Pipeline:
    folder: Path = tmp_path_factory.mktemp("flexar")
    for name in ("ImageReward.pt", "med_config.json", "vocab.txt"):
        shutil.copy(ROOT / "assets/demo" / name, folder)
    files = json.loads((RECORDED / "flextok-tiny/config.json").read_text())["files"]
    for part in ("t2i", "tokenizer", "text"):
        shutil.copytree(RECORDED / "flextok-tiny" / files[part], folder / files[part])
    (folder / "bundle.toml").write_text(TOML.format(**files))
    return ttsvar.Pipeline.load(folder)


@pytest.mark.parametrize("method", ["lookahead", "beam"])
def test_images_are_searched_over_prefixes(flexar, method):
    arguments = {"method": method, "n": 2, "seed": 5, "decoder_steps": 2, "preview_steps": 1}
    result = flexar.generate("two green stars", **arguments)
    assert result.trace["settings"]["decoder_steps"] == 2
    assert result.trace["scales"] == [[1, 1], [1, 1], [1, 2], [1, 4], [1, 2]]
    again = flexar.generate("two green stars", **arguments)
    assert again.image == result.image


def test_steps_out_of_range_are_refused(flexar):
    with pytest.raises(ValueError, match="decoder"):
        flexar.generate("two green stars", decoder_steps=0)
