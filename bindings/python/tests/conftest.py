"""Shared fixtures: the demo, loaded once, and the command line to compare with."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import ttsvar

ROOT = Path(__file__).resolve().parents[3]
BUILT = ROOT / "target/release/ttsvar"
RECORDED = Path(os.environ.get("TTSVAR_GOLDEN", ROOT / "tests/data"))
CLASS_BUNDLE = """
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


@pytest.fixture(scope="session")
def pipeline() -> ttsvar.Pipeline:
    return ttsvar.Pipeline.load("demo", weights=None, dtype="f32")


@pytest.fixture(scope="session")
def command_line() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the `ttsvar` that cargo built, or the program in TTSVAR_BIN."""
    program = Path(os.environ.get("TTSVAR_BIN", BUILT))
    assert program.is_file(), f"{program} does not exist; `cargo build --release` builds it"

    def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = [str(program), *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small scorers under the names of released ones."""
    folder = tmp_path_factory.mktemp("downloads")
    shutil.copytree(RECORDED / "clip-tiny/model", folder / "clip-vit-large-patch14")
    shutil.copytree(RECORDED / "aesthetic-tiny/siglip", folder / "siglip-so400m-patch14-384")
    shutil.copy(RECORDED / "aesthetic-tiny/aesthetic_predictor_v2_5.pth", folder)
    return folder


@pytest.fixture(scope="session")
def class_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of 20 classes with the scorer of the demo."""
    folder: Path = tmp_path_factory.mktemp("var")
    for name in ("ImageReward.pt", "med_config.json", "vocab.txt"):
        shutil.copy(ROOT / "assets/demo" / name, folder)
    files = json.loads((RECORDED / "var-tiny/config.json").read_text())["files"]
    shutil.copy(RECORDED / "var-tiny" / files["var_shared_aln_false"], folder / "var.pth")
    shutil.copy(RECORDED / "var-tiny" / files["vae"], folder / "vae.pth")
    (folder / "bundle.toml").write_text(CLASS_BUNDLE)
    return folder
