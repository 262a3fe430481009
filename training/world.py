"""The "scenes" world: which pictures exist, how they are laid out and how they are painted.

A scene is 1 to 4 flat shapes on a light background, 64 x 64 pixels. Everything random comes from one
SplitMix64 stream per seed, so that the same scenes can be made by any other program.
"""
import argparse
import math
import time
from pathlib import Path

import torch

SIZE = 64
SHAPES = ["circle", "square", "triangle", "star", "ring", "cross"]
COLORS = {
    "red": (220, 40, 40), "orange": (245, 140, 20), "yellow": (245, 220, 40), "green": (40, 165, 70),
    "blue": (40, 80, 220), "purple": (140, 60, 190), "pink": (245, 130, 190), "black": (25, 25, 30),
}
COLOR_NAMES = list(COLORS)
RELATIONS = ["left of", "right of", "above", "below"]
KINDS = ["one", "two", "count", "relation"]
KIND_WEIGHTS = [2.0, 5.0, 2.5, 3.5]
RADIUS = {1: (9, 14), 2: (8, 12), 3: (7.5, 10), 4: (7.5, 9)}      # pixels, by number of objects
MAX_OBJECTS = 4


class SplitMix:
    """The SplitMix64 generator; the seed is scrambled so that neighbouring seeds give unrelated streams."""
    MASK = (1 << 64) - 1

    def __init__(self, seed):
        self.state = (seed ^ 0x5DEECE66D1234567) & self.MASK
        low, high = self.u64(), self.u64()
        self.state = low ^ ((high << 32) & self.MASK)

    def u64(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def random(self):
        return (self.u64() >> 11) / (1 << 53)

    def uniform(self, low, high):
        return low + (high - low) * self.random()

    def below(self, n):
        return self.u64() % n

    def pick(self, items):
        return items[self.below(len(items))]

    def pick_two(self, items):
        i = self.below(len(items))
        return items[i], items[(i + 1 + self.below(len(items) - 1)) % len(items)]

    def weighted(self, items, weights):
        u = self.random() * sum(weights)
        for item, weight in zip(items, weights):
            u -= weight
            if u < 0:
                return item
        return items[-1]


# ------------------------------------------------------------------------------------------ layout


def relation_holds(relation, dx, dy):
    """(dx, dy) = centre of the first object minus centre of the second, in pixels."""
    along, across = {"left of": (-dx, dy), "right of": (dx, dy), "above": (-dy, dx), "below": (dy, dx)}[relation]
    return along >= 16 and abs(across) <= 0.7 * along


def place(rng, objects, low, high, relation):
    """A free place (cx, cy, r) for the next object, or None after 30 tries."""
    for _ in range(30):
        r = rng.uniform(low, high)
        margin = 1.22 * r + 1
        cx, cy = rng.uniform(margin, SIZE - margin), rng.uniform(margin, SIZE - margin)
        apart = all(math.hypot(cx - o["cx"], cy - o["cy"]) > 1.18 * (r + o["r"]) + 2 for o in objects)
        if apart and (relation is None or not objects
                      or relation_holds(relation, objects[0]["cx"] - cx, objects[0]["cy"] - cy)):
            return cx, cy, r
    return None


def lay_out(rng, shapes, colors, relation):
    """Places all objects; starts again when one of them finds no room."""
    low, high = RADIUS[len(shapes)]
    while True:
        objects = []
        for shape, color in zip(shapes, colors):
            spot = place(rng, objects, low, high, relation)
            if spot is None:
                break
            cx, cy, r = spot
            rgb = [min(255, max(0, v + rng.uniform(-12, 12))) for v in COLORS[color]]
            objects.append({"shape": shape, "color": color, "cx": cx, "cy": cy, "r": r,
                            "rot": rng.uniform(-0.2, 0.2), "rgb": rgb})
        if len(objects) == len(shapes):
            return objects


def sample_scene(seed):
    """-> {kind, relation, objects, bg}; objects of a `count` scene share shape and colour."""
    rng = SplitMix(seed)
    kind, relation = rng.weighted(KINDS, KIND_WEIGHTS), None
    if kind == "one":
        shapes = [rng.pick(SHAPES)]
    elif kind == "count":
        shapes = [rng.pick(SHAPES)] * (2 + rng.below(3))
    else:
        shapes = list(rng.pick_two(SHAPES))
        relation = rng.pick(RELATIONS) if kind == "relation" else None
    shared = rng.pick(COLOR_NAMES)
    colors = [shared if kind == "count" else rng.pick(COLOR_NAMES) for _ in shapes]
    objects = lay_out(rng, shapes, colors, relation)
    grey = rng.uniform(200, 250)
    return {"kind": kind, "relation": relation, "objects": objects,
            "bg": [min(255, grey + rng.uniform(-8, 8)) for _ in range(3)]}


# ------------------------------------------------------------------------------------------ painting


def signed_distance(shape, x, y):
    """Approximate signed distance to the outline, in units of the radius; `shape` broadcasts against x and y."""
    ax, ay, rad = x.abs(), y.abs(), torch.hypot(x, y)
    out = rad - 1                                                                # circle
    out = torch.where(shape == 1, torch.maximum(ax, ay) - 0.86, out)             # square
    slope = math.sqrt(3) / 2
    triangle = torch.maximum(torch.maximum(y - 0.59, slope * x - 0.5 * y - 0.59), -slope * x - 0.5 * y - 0.59)
    out = torch.where(shape == 2, triangle, out)
    fifth = 2 * math.pi / 5                                                      # star: fold the angle into one arm
    angle = torch.atan2(x, -y)
    angle = (angle - fifth * torch.round(angle / fifth)).abs()
    px, py = rad * torch.cos(angle), rad * torch.sin(angle)
    tip, qx, qy = 1.22, 0.52 * math.cos(fifth / 2), 0.52 * math.sin(fifth / 2)
    length = math.hypot(qy, tip - qx)
    out = torch.where(shape == 3, ((px - tip) * qy + py * (tip - qx)) / length, out)
    out = torch.where(shape == 4, (rad - 0.8).abs() - 0.24, out)                 # ring
    cross = torch.minimum(torch.maximum(ax - 1.08, ay - 0.34), torch.maximum(ax - 0.34, ay - 1.08))
    return torch.where(shape == 5, cross, out)


def pack(scenes):
    """Scenes as tensors: geo [n,4,5] = cx, cy, r, cos, sin; shape/color [n,4] (-1 = none); rgb, bg, kind, relation."""
    n = len(scenes)
    out = {"geo": torch.zeros(n, MAX_OBJECTS, 5), "rgb": torch.zeros(n, MAX_OBJECTS, 3),
           "shape": torch.full((n, MAX_OBJECTS), -1), "color": torch.full((n, MAX_OBJECTS), -1),
           "bg": torch.tensor([s["bg"] for s in scenes]),
           "kind": torch.tensor([KINDS.index(s["kind"]) for s in scenes]),
           "relation": torch.tensor([RELATIONS.index(s["relation"]) if s["relation"] else -1 for s in scenes])}
    for i, scene in enumerate(scenes):
        for j, o in enumerate(scene["objects"]):
            out["geo"][i, j] = torch.tensor([o["cx"], o["cy"], o["r"], math.cos(o["rot"]), math.sin(o["rot"])])
            out["rgb"][i, j] = torch.tensor(o["rgb"])
            out["shape"][i, j], out["color"][i, j] = SHAPES.index(o["shape"]), COLOR_NAMES.index(o["color"])
    return out


def render(packed):
    """-> uint8 pictures [n,3,64,64] and, per pixel, the number of the object that covers it (uint8, 0 = background)."""
    grid = torch.arange(SIZE) + 0.5
    n = len(packed["bg"])
    picture = packed["bg"][:, :, None, None].expand(n, 3, SIZE, SIZE).clone()
    owner = torch.zeros(n, SIZE, SIZE, dtype=torch.uint8)
    for j in range(MAX_OBJECTS):
        rows = (packed["shape"][:, j] >= 0).nonzero()[:, 0]
        if len(rows) == 0:
            continue
        cx, cy, r, cos, sin = (packed["geo"][rows, j, q][:, None, None] for q in range(5))
        dx, dy = (grid[None, None, :] - cx) / r, (grid[None, :, None] - cy) / r
        away = signed_distance(packed["shape"][rows, j][:, None, None], cos * dx + sin * dy, -sin * dx + cos * dy) * r
        alpha = (0.5 - away).clamp(0, 1)[:, None]
        picture[rows] = picture[rows] * (1 - alpha) + packed["rgb"][rows, j][:, :, None, None] * alpha
        owner[rows] = torch.where(alpha[:, 0] > 0.5, torch.tensor(j + 1, dtype=torch.uint8), owner[rows])
    return picture.round().clamp(0, 255).to(torch.uint8), owner


def make(count, first_seed):
    """`count` rendered scenes whose seeds start at `first_seed`."""
    packed = pack([sample_scene(first_seed + i) for i in range(count)])
    parts = [render({k: v[i:i + 500] for k, v in packed.items()}) for i in range(0, count, 500)]
    return {**packed, "img": torch.cat([p for p, _ in parts]), "owner": torch.cat([o for _, o in parts])}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for data and checkpoints")
    parser.add_argument("--train", type=int, default=90_000, help="number of training scenes")
    parser.add_argument("--val", type=int, default=1_000, help="number of validation scenes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    torch.save(make(args.val, 900_000_000), args.out / "val.pt")
    torch.save(make(args.train, 1_000_000), args.out / "train.pt")
    print(f"{args.train} + {args.val} scenes in {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
