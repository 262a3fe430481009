"""Captions near a picture for training the reward: fields taken from its objects, often with one of them changed."""
from captions import TASKS, Ask, free, held_out, verbatim
from judge import correct
from world import COLOR_NAMES, RELATIONS, SHAPES

TASK_WEIGHTS = [1, 1.5, 2, 1, 5, 2.5]           # relations are the hardest to see


def other(rng, items, not_this):
    return rng.choice([x for x in items if x != not_this])


def propose(objects, task, rng):
    """An Ask of one task about these objects (judge format); it may be true or false."""
    first = rng.choice(objects) if objects else {"class": rng.choice(SHAPES), "color": rng.choice(COLOR_NAMES)}
    others = [o for o in objects if o["class"] != first["class"]]
    second = rng.choice(others) if others else {"class": other(rng, SHAPES, first["class"]), "color": rng.choice(COLOR_NAMES)}
    a, b, ca, cb = first["class"], second["class"], first["color"], second["color"]
    number = min(4, max(2, sum(o["class"] == a for o in objects)))
    change = rng.random()
    if change < 0.12:
        b = other(rng, SHAPES, a)
    elif change < 0.24:
        a = other(rng, SHAPES, b)
    elif change < 0.34:
        ca = rng.choice(COLOR_NAMES)
    elif change < 0.44:
        cb = rng.choice(COLOR_NAMES)
    elif change < 0.54:
        ca, cb = cb, ca
    elif change < 0.75:
        number = rng.randint(2, 4)
    if task in ("single_object", "colors"):
        return Ask("one", (a,), (ca if task == "colors" else None,))
    if task == "counting":
        return Ask("count", (a,), (ca if rng.random() < 0.3 else None,), number)
    if task == "position":
        named = rng.random() < 0.3
        return Ask("relation", (a, b), (ca, cb) if named else (None, None), 1, rng.choice(RELATIONS))
    both, single = task == "color_attr", rng.random() < 0.15
    return Ask("two", (a, b), (ca, cb) if both else ((ca, None) if single else (None, None)))


def labelled(objects, rng, count):
    """`count` (caption, truth) pairs, truths alternating where possible.

    The task is drawn before the label, and the label before the caption: otherwise hard tasks collect mostly
    negatives and the model learns the task's prior instead of the relation.
    """
    out = []
    for i in range(count):
        wanted = i % 2 == 0
        for task in rng.choices(TASKS, TASK_WEIGHTS, k=3):
            asks = (propose(objects, task, rng) for _ in range(12))
            ask = next((a for a in asks if not held_out(a) and correct(objects, a.metadata()) == wanted), None)
            if ask:
                break
        if ask is None:
            ask = propose(objects, "single_object", rng)
        caption = verbatim(ask) if rng.random() < 0.5 else free(ask, rng)
        out.append((caption, correct(objects, ask.metadata())))
    return out


def scene_objects(packed, row):
    """A scene's objects in the judge's format; boxes from centre and radius."""
    out = []
    for shape, color, (cx, cy, r, *_) in zip(*(packed[k][row].tolist() for k in ("shape", "color", "geo"))):
        if shape >= 0:
            out.append({"class": SHAPES[shape], "color": COLOR_NAMES[color], "box": [cx - r, cy - r, cx + r, cy + r]})
    return out
