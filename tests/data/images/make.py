"""Writes the images of this folder with Pillow, and the pixels that Pillow reads from them.

    python make.py [FOLDER [WIDTH HEIGHT SEED]]

`expected.json` lists width, height and the place of each image's pixels in `expected.bin`, which holds
`ImageOps.exif_transpose(Image.open(file)).convert("RGB")`.
"""

import io, json, struct, sys, zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageFilter, ImageOps

folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
width, height, seed = (int(n) for n in sys.argv[2:5]) if len(sys.argv) > 2 else (45, 27, 0)
draws = np.random.default_rng(seed)


def scene(channels):
    """Smooth colours with some edges and noise, as photographs have them."""
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in range(channels):
        a, b, c = draws.uniform(0.05, 0.4, 3)
        wave = 127 + 90 * np.sin(a * x + b * y + 6 * c)
        wave += 60 * (((x // 7) + (y // 5)) % 2) * draws.uniform(0, 1)
        planes.append(wave + draws.normal(0, 4, wave.shape))
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(kind, samples, more=b""):
    """A PNG of 16 bits, which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples.reshape(height, -1))
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


rgb = Image.fromarray(scene(3))
rgba = Image.fromarray(scene(4), "RGBA")
grey = Image.fromarray(scene(1)[..., 0])
cmyk = Image.fromarray(scene(4), "CMYK")
palette = rgb.quantize(17)
wide = draws.integers(0, 65536, (height, width, 4), dtype=np.uint16)
inked = saved(cmyk, "JPEG", quality=90)
adobe = inked.index(b"Adobe")
small = rgba.crop((0, 0, width // 2 * 2 - 8, height // 2 * 2 - 6))

files = {
    "grey.png": saved(grey, "PNG"),
    "one-bit.png": saved(grey.convert("1"), "PNG"),
    "grey-alpha.png": saved(rgba.convert("LA"), "PNG"),
    "palette.png": saved(palette, "PNG"),
    "palette-clear.png": saved(palette, "PNG", transparency=bytes(range(0, 255, 15))),
    "rgb.png": saved(rgb, "PNG"),
    "rgba.png": saved(rgba, "PNG"),
    "rgb-16.png": png16(2, wide[..., :3]),
    "rgba-16.png": png16(6, wide),
    "turned.png": saved(rgb, "PNG", exif=turned(6)),
    "moving.png": saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)]),
    "grey.jpg": saved(grey, "JPEG", quality=90),
    "444.jpg": saved(rgb, "JPEG", quality=95, subsampling="4:4:4"),
    "422.jpg": saved(rgb, "JPEG", quality=90, subsampling="4:2:2"),
    "420.jpg": saved(rgb, "JPEG", quality=75, subsampling="4:2:0"),
    "coarse.jpg": saved(rgb, "JPEG", quality=10, subsampling="4:2:0"),
    "progressive.jpg": saved(rgb, "JPEG", quality=85, progressive=True, subsampling="4:2:0"),
    "restarts.jpg": saved(rgb, "JPEG", quality=85, restart_marker_blocks=2),
    "plain-rgb.jpg": saved(rgb, "JPEG", quality=90, keep_rgb=True),
    "cmyk.jpg": inked,
    "ycck.jpg": inked[: adobe + 11] + b"\2" + inked[adobe + 12 :],
    "lossy.webp": saved(rgb, "WEBP", quality=80),
    "lossy-alpha.webp": saved(rgba, "WEBP", quality=80),
    "lossless.webp": saved(rgb, "WEBP", lossless=True),
    "lossless-alpha.webp": saved(rgba, "WEBP", lossless=True, exact=True),
    "moving.webp": saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)], lossless=True),
    "moving-alpha.webp": saved(rgba, "WEBP", save_all=True, append_images=[rgba.rotate(180)], lossless=True, exact=True),
    "turned.webp": saved(rgb, "WEBP", lossless=True, exif=turned(5)),
}
for orientation in range(2, 9):
    files[f"turned-{orientation}.jpg"] = saved(rgb, "JPEG", quality=95, subsampling="4:4:4", exif=turned(orientation))

index, pixels = {}, b""
for name, data in files.items():
    (folder / name).write_bytes(data)
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    index[name] = {"width": image.width, "height": image.height, "at": len(pixels)}
    pixels += image.tobytes()
(folder / "expected.bin").write_bytes(pixels)
(folder / "expected.json").write_text(json.dumps({"pillow": PIL.__version__, "images": index}, indent=1) + "\n")
