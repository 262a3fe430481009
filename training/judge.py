"""The rule-based evaluator of scenes: segments, names shape and colour of every object, applies GenEval's rules.

It never takes part in a search or in training of the generator; it labels the reward's training samples and tests.
"""
from collections import defaultdict

import numpy as np
import torch

from world import COLOR_NAMES, COLORS, SHAPES, SIZE, signed_distance

PALETTE = np.array(list(COLORS.values()), np.float32)
MIN_PIXELS, MIN_AREA, MIN_IOU, WINDOW = 40, 60.0, 0.72, 44
TURNS = torch.tensor([i * 0.08 for i in range(-4, 5)])[None, :, None, None]          # rotations tried, radians
EACH_SHAPE = torch.arange(len(SHAPES))[:, None, None, None]


def template_areas():
    """Area of every shape with radius 1."""
    g = (torch.arange(400) + 0.5) / 400 * 3 - 1.5
    x, y = g[None, :].expand(400, 400), g[:, None].expand(400, 400)
    return torch.tensor([float((signed_distance(torch.tensor(i), x, y) < 0).float().mean() * 9) for i in range(len(SHAPES))])


AREAS = template_areas()


# ------------------------------------------------------------------------------------------ segmentation


def components(mask):
    """4-connected components of a boolean map, as boolean maps of at least MIN_PIXELS pixels."""
    left, out = mask.copy(), []
    while left.any():
        y, x = np.unravel_index(left.argmax(), left.shape)
        part, front = np.zeros_like(mask), [(y, x)]
        left[y, x] = False
        while front:
            y, x = front.pop()
            part[y, x] = True
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < SIZE and 0 <= u < SIZE and left[v, u]:
                    left[v, u] = False
                    front.append((v, u))
        if part.sum() >= MIN_PIXELS:
            out.append(part)
    return out


def nearest_color(pixels):
    return ((pixels[..., None, :] - PALETTE) ** 2).sum(-1).argmin(-1)


def core(region, distance):
    """The pixels of a region that are clearly not background."""
    return region & (distance >= 0.75 * np.percentile(distance[region], 90))


def split_by_color(picture, region, distance):
    """Touching objects of different colours become regions of their own."""
    counts = np.bincount(nearest_color(picture[core(region, distance)]), minlength=len(PALETTE))
    if counts.max() >= 0.7 * counts.sum():
        return [region]
    names = nearest_color(picture)
    return [p for c in np.nonzero(counts >= MIN_PIXELS)[0] for p in components(region & (names == c))]


def grow(region):
    """One pixel of growth takes the antialiased rim along."""
    out = region.copy()
    out[1:] |= region[:-1]
    out[:-1] |= region[1:]
    out[:, 1:] |= region[:, :-1]
    out[:, :-1] |= region[:, 1:]
    return out


def measure(picture, background, distance, part, allowed):
    """Coverage map, centre, area, box and colour of one region; None when it is too small."""
    color = np.median(picture[core(part, distance)], 0)
    axis = color - background
    cover = np.clip((picture - background) @ axis / (axis @ axis + 1e-6), 0, 1)
    cover = np.where(grow(part) & allowed, cover, 0)
    area, (ys, xs) = cover.sum(), np.nonzero(cover > 0.5)
    if area < MIN_AREA or len(ys) == 0:
        return None
    grid_y, grid_x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    centre = (cover * grid_x).sum() / area, (cover * grid_y).sum() / area
    return {"cover": cover, "centre": centre, "area": float(area), "color": COLOR_NAMES[int(nearest_color(color))],
            "box": [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]}


def segments(picture):
    """uint8 [64,64,3] -> measured regions."""
    x = picture.astype(np.float32)
    border = np.concatenate([x[:2].reshape(-1, 3), x[-2:].reshape(-1, 3), x[2:-2, :2].reshape(-1, 3), x[2:-2, -2:].reshape(-1, 3)])
    background = np.median(border, 0)
    distance = np.sqrt(((x - background) ** 2).sum(-1))
    regions = components(distance > 36)
    anywhere, out = np.any(regions, axis=0) if regions else None, []
    for region in regions:
        allowed = region | ~anywhere
        out += [measure(x, background, distance, part, allowed) for part in split_by_color(x, region, distance)]
    return [s for s in out if s]


# ------------------------------------------------------------------------------------------ shapes and rules


def shape_of(segment):
    """Best matching shape by soft intersection over union with turned templates; None below MIN_IOU."""
    cx, cy = segment["centre"]
    x0, y0 = round(cx - WINDOW / 2), round(cy - WINDOW / 2)
    padded = np.pad(segment["cover"], WINDOW)
    window = torch.from_numpy(padded[y0 + WINDOW:y0 + 2 * WINDOW, x0 + WINDOW:x0 + 2 * WINDOW]).float()
    radius = (segment["area"] / AREAS).sqrt()[:, None, None, None]
    grid = torch.arange(WINDOW) + 0.5
    dx, dy = (grid[None, :] + x0 - cx) / radius, (grid[:, None] + y0 - cy) / radius
    cos, sin = torch.cos(TURNS), torch.sin(TURNS)
    template = (0.5 - signed_distance(EACH_SHAPE, cos * dx + sin * dy, -sin * dx + cos * dy) * radius).clamp(0, 1)
    iou = torch.minimum(template, window).sum((-1, -2)) / torch.maximum(template, window).sum((-1, -2))
    best = iou.amax(1)
    return SHAPES[int(best.argmax())] if best.max() >= MIN_IOU else None


def detect(picture):
    """uint8 [64,64,3] -> the objects seen: class, color, box."""
    found = [{"class": shape_of(s), "color": s["color"], "box": s["box"]} for s in segments(picture)]
    return [o for o in found if o["class"]]


def relations(a, b):
    """GenEval's relations of box a to box b."""
    a, b = np.array(a, float), np.array(b, float)
    offset = (a[:2] + a[2:] - b[:2] - b[2:]) / 2
    sizes = (a[2:] - a[:2]) + (b[2:] - b[:2])
    beyond = np.maximum(np.abs(offset) - 0.1 * sizes, 0) * np.sign(offset)
    length = np.linalg.norm(offset)
    if length == 0 or (np.abs(beyond) < 1e-3).all():
        return set()
    dx, dy = beyond / length
    names = [("left of", dx < -0.5), ("right of", dx > 0.5), ("above", dy < -0.5), ("below", dy > 0.5)]
    return {name for name, holds in names if holds}


def correct(objects, wish):
    """Whether the objects satisfy `include` and `exclude` of a prompt."""
    groups, ok = [], True
    for need in wish["include"]:
        found = [o for o in objects if o["class"] == need["class"]]
        if len(found) < need["count"]:
            return False
        if "color" in need and sum(o["color"] == need["color"] for o in found) < need["count"]:
            ok = False
        if "position" in need:
            relation, target = need["position"]
            wanted = [o for o in found if o["color"] == need["color"]] if "color" in need else found
            if not any(relation in relations(o["box"], t["box"]) for o in wanted for t in groups[target]):
                ok = False
        groups.append([o for o in found if o["color"] == need["color"]] if "color" in need else found)
    return ok and all(sum(o["class"] == bad["class"] for o in objects) < bad["count"] for bad in wish["exclude"])


def judge_all(pictures, wishes):
    """uint8 [n,3,64,64] and prompts -> list of bool."""
    return [correct(detect(p.permute(1, 2, 0).numpy()), w) for p, w in zip(pictures, wishes)]


def table(verdicts, wishes):
    """Accuracy per task and the mean over tasks."""
    by_task = defaultdict(list)
    for ok, wish in zip(verdicts, wishes):
        by_task[wish["task"]].append(ok)
    rows = {task: round(float(np.mean(v)), 4) for task, v in by_task.items()}
    return rows | {"mean": round(float(np.mean(list(rows.values()))), 4)}
