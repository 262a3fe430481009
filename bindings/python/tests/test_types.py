"""What type checkers say about users' programs: wrong options are type errors."""

import subprocess
import sys
from pathlib import Path

import ttsvar

RIGHT = """
import numpy as np
import ttsvar

pipeline = ttsvar.Pipeline.from_pretrained("FoundationVision/Infinity", variant="2b")
result = pipeline.generate("a ring", method="tts-var", n=2, cfg=[3.0, 1.0], lambda_=2.5)
size: tuple[int, int] = result.best_images(2)[0].size
output = pipeline(["a ring", "a star"], guidance_scale=3.0, generator=7, share=True)
width: int = output.images[0].width
arrays = pipeline("a ring", output_type="np", tau=np.array([1.0, 0.5])).images
shape: tuple[int, ...] = arrays.shape
mask = np.zeros((64, 64), bool)
edited = pipeline.generate("a ring", image=result.image, mask=mask)
edits = pipeline("a ring", image=np.asarray(result.image), mask_image=edited.image).images[0].size
moved: ttsvar.Pipeline = pipeline.to("cuda")
"""

WRONG = [
    ('pipeline.generate("a ring", method="fastest")', "method"),
    ('pipeline("a ring", method="bon")', "call-overload"),
    ('pipeline.generate("a ring", n="two")', '"n"'),
    ('pipeline.generate("a ring", size=3)', '"size"'),
    ('pipeline("a ring", output_type="pt")', "call-overload"),
    ('pipeline.generate("a ring", image="a.png", mask="b.png")', '"image"'),
]


def check(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "program.py"
    program.write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(program)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_right_program_passes(tmp_path):
    done = check(tmp_path, RIGHT)
    assert done.returncode == 0, done.stdout


def test_wrong_options_are_type_errors(tmp_path):
    start = 'import ttsvar\npipeline = ttsvar.Pipeline.load("demo")\n'
    done = check(tmp_path, start + "\n".join(call for call, _ in WRONG))
    lines = done.stdout.splitlines()
    for number, (call, name) in enumerate(WRONG, 3):
        errors = [line for line in lines if f"program.py:{number}: error" in line]
        assert errors and name in "".join(errors), (call, done.stdout)


def test_every_option_has_a_type():
    from ttsvar import _options

    source = Path(_options.__file__).read_text()
    declared = source.split("class SearchOptions")[1]
    names = {
        line.split(":")[0].strip().rstrip("_")
        for line in declared.splitlines()
        if line.startswith("        ") and ": " in line and "`" not in line
    }
    assert names == set(ttsvar.OPTIONS) - {"method", "seed"}

