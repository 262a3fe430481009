"""Makes the images of `labels.jsonl` with the demo, and contact sheets that show only index and prompt.

Usage: python make.py --out FOLDER [--ttsvar PROGRAM] [--indices 3,17,204]; needs Pillow.
"""
import argparse
import json
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
SIDE = 256
CAPTION = 22
COLUMNS = 4
ROWS = 3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ttsvar", default="ttsvar")
    parser.add_argument("--labels", type=Path, default=HERE / "labels.jsonl")
    parser.add_argument("--indices", help="show only these images, separated by commas")
    return parser.parse_args()


def generate(labels, program, folder):
    """Writes one image per label, as `0001-….png`. Seeds count up, so one call makes them all."""
    folder.mkdir(parents=True, exist_ok=True)
    first = labels[0]["seed"]
    assert [label["seed"] for label in labels] == list(range(first, first + len(labels)))
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(label["prompt"] + "\n" for label in labels))
    command = [program, "generate", "--prompts", prompts, "--method", "raw", "--seed", str(first)]
    subprocess.run([*command, "--quiet", "--out", folder], check=True)
    return sorted(folder.glob("[0-9]*.png"))


def sheet(cells):
    size = (COLUMNS * SIDE, ROWS * (SIDE + CAPTION))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for place, (label, file) in enumerate(cells):
        x = place % COLUMNS * SIDE
        y = place // COLUMNS * (SIDE + CAPTION)
        image = Image.open(file).convert("RGB").resize((SIDE - 6, SIDE - 6), Image.Resampling.NEAREST)
        canvas.paste(image, (x + 3, y + 3))
        prompt = label["prompt"].removeprefix("a photo of ")
        draw.text((x + 6, y + SIDE + 2), f"{label['index']}: {prompt}", fill="black")
    return canvas


def main():
    args = arguments()
    labels = [json.loads(line) for line in args.labels.read_text().splitlines()]
    files = sorted((args.out / "images").glob("[0-9]*.png"))
    if len(files) != len(labels):
        files = generate(labels, args.ttsvar, args.out / "images")
    cells = list(zip(labels, files, strict=True))
    name = "sheet"
    if args.indices:
        wanted = {int(index) for index in args.indices.split(",")}
        cells = [cell for cell in cells if cell[0]["index"] in wanted]
        name = "chosen"
    count = COLUMNS * ROWS
    for first in range(0, len(cells), count):
        sheet(cells[first : first + count]).save(args.out / f"{name}-{first // count:02}.png")


if __name__ == "__main__":
    main()
