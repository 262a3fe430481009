#!/usr/bin/env python3
"""Writes the seeds in `corpus/`: small valid files, and the hostile ones that the tests in `tests/formats` build.

Replaces the seeds of the targets that it has some for, once all of them are made. Those of other targets (`options`,
`steering`) were written by hand and stay.

Needs a release build of the program (`cargo build --release`); `--program` says where it is.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/data"
LARGEST = 12_000

PROMPTS = {
    "geneval_prompts": [
        '{"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}\n',
        '{"tag": "counting", "include": [{"class": "car", "count": 2}], "exclude": [{"class": "car", "count": 3}], '
        '"prompt": "a photo of two cars"}\n',
        '{"tag": "position", "include": [{"class": "dog", "count": 1}, {"class": "cat", "count": 1, '
        '"position": ["left of", 0]}], "prompt": "a photo of a cat left of a dog"}\n',
        '{"tag": "color_attr", "include": [{"class": "apple", "count": 1, "color": "red"}, {"class": "cup", "count": 1, '
        '"color": "blue"}], "prompt": "a photo of a red apple and a blue cup"}\n',
    ],
    "compbench_prompts": [
        "a green bench and a red car\na bathroom with green tile and a red shower curtain\n",
        "two dogs, three cats and one bird\nfour wooden chairs\n",
        "The fluffy white cat is sleeping on the black leather couch next to the round table\n",
    ],
}

IMAGES = ["420.jpg", "progressive.jpg", "ycck.jpg", "turned-6.jpg", "lossy-alpha.webp", "lossless.webp"]
IMAGES += ["moving-alpha.webp", "palette-clear.png", "turned.png"]

TEXTS = [b"a\r\nb \xc3\xa9\r", b"\xff\xfea\0\n\0", b"\xef\xbb\xbf{}\n", b"caf\xe9\n"]


# The seeds of each target.
SEEDS = {}


def add(target, content):
    """One seed; files that are too large are cut, which is a seed as well."""
    content = content[:LARGEST] if isinstance(content, bytes) else content.encode()[:LARGEST]
    SEEDS.setdefault(target, set()).add(content)


def write():
    """Replaces the seeds of the targets that have some."""
    for target, contents in SEEDS.items():
        folder = ROOT / "fuzz/corpus" / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for content in contents:
            (folder / hashlib.sha1(content).hexdigest()[:12]).write_bytes(content)


def from_tests():
    """The weight files of the tests, each for the target that reads its kind."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["cargo", "test", "--release", "--package", "ttsvar", "--test", "formats", "weights::"]
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "TTSVAR_SEEDS": folder})
        for path in sorted(pathlib.Path(folder).iterdir()):
            content = path.read_bytes()
            add("safetensors" if content[8:9] == b"{" else "torch", content)
            try:
                add("pickle", zipfile.ZipFile(io.BytesIO(content)).read("archive/data.pkl"))
            except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError):
                pass


def from_program(program):
    """Plans, an image with its records, a trace."""
    for method in ["raw", "best-of-n", "importance", "beam", "tts-var"]:
        plan = subprocess.run([program, "plan", method, "--n", "2", "--scales", "13", "--toml"], capture_output=True)
        if plan.returncode == 0:
            add("plan", plan.stdout)
    with tempfile.TemporaryDirectory() as folder:
        image, trace = os.path.join(folder, "a.png"), os.path.join(folder, "a.json")
        command = ["generate", "a red circle", "--method", "best-of-n", "--n", "2", "--seed", "1", "--quiet"]
        subprocess.run([program, *command, "--out", image, "--trace", trace], check=True)
        add("png", pathlib.Path(image).read_bytes())
        add("trace", pathlib.Path(trace).read_bytes())


def safetensors():
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<6f", *range(6))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default=ROOT / "target/release/ttsvar")
    program = parser.parse_args().program
    from_tests()
    from_program(program)
    add("safetensors", safetensors())
    for files in [{"layer.weight": "a.bin"}, {"layer.weight": "a.bin", "b": "b.bin"}, {"layer.weight": "../a.bin"}, {}]:
        add("sharded_index", json.dumps({"metadata": {}, "weight_map": files}))
    for target, prompts in PROMPTS.items():
        for text in prompts:
            add(target, text)
        add(target, "".join(prompts))
    for path in sorted((ROOT / "experiments").glob("*.toml")):
        add("experiment", path.read_bytes())
    add("bundle_description", (ROOT / "assets/demo/bundle.toml").read_bytes())
    add("png", (DATA / "scenes/scene_00.png").read_bytes())
    for name in IMAGES:
        add("image", (DATA / "images" / name).read_bytes())
    for text in TEXTS:
        add("text", text)
    for name in ["clip-tiny/model/merges.txt", "clip-tiny/model/bpe_simple_vocab.txt.gz"]:
        add("clip_tokenizer", (DATA / name).read_bytes())
    for name in ["blip-vqa-tiny/vocab.txt"]:
        add("wordpiece", (DATA / name).read_bytes())
    add("wordpiece", (ROOT / "assets/demo/vocab.txt").read_bytes())
    add("t5_tokenizer", (ROOT / "assets/demo/t5/tokenizer.json").read_bytes())
    write()


if __name__ == "__main__":
    main()
