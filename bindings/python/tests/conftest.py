"""What the tests share: the demo, loaded once, and the command line to compare with."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import ttsvar

BUILT = Path(__file__).resolve().parents[3] / "target/release/ttsvar"


@pytest.fixture(scope="session")
def pipeline() -> ttsvar.Pipeline:
    return ttsvar.Pipeline.load("demo", weights=None, dtype="f32")


@pytest.fixture(scope="session")
def command_line() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the `ttsvar` that cargo built, or the one that TTSVAR_BIN names."""
    program = Path(os.environ.get("TTSVAR_BIN", BUILT))
    assert program.is_file(), f"{program} is not there: `cargo build --release` builds it"

    def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = [str(program), *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done

    return run
