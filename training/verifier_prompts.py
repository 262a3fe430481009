"""Writes prompts for `ttsvar collect`, each with captions that differ from it in one thing. None is held out."""
import argparse
import json
import random
from pathlib import Path

from captions import TASKS, Ask, fnv, free, held_out, training_prompts, verbatim
from world import COLOR_NAMES, RELATIONS, SHAPES

KINDS = {"single_object": "one", "colors": "one", "counting": "count", "position": "relation",
         "two_object": "two", "color_attr": "two"}


def ask_of(prompt):
    """What a prompt with GenEval's rules asks for."""
    kind, include = KINDS[prompt["task"]], prompt["include"]
    relation = include[1]["position"][0] if kind == "relation" else ""
    if kind == "relation":
        include = include[::-1]
    shapes = tuple(o["class"] for o in include)
    colors = tuple(o.get("color") for o in include)
    return Ask(kind, shapes, colors, include[0]["count"], relation)


def changed(ask, rng):
    """The same wish with another shape, colour, number or relation, or with its objects swapped."""
    what = rng.choice(["shape", "color", "count", "relation", "swap"])
    shapes, colors, count, relation = list(ask.shapes), list(ask.colors), ask.count, ask.relation
    if what == "shape":
        shapes[rng.randrange(len(shapes))] = rng.choice(SHAPES)
    elif what == "color" and any(colors):
        colors[rng.randrange(len(colors))] = rng.choice(COLOR_NAMES)
    elif what == "count" and ask.kind == "count":
        count = rng.choice([2, 3, 4])
    elif what == "relation" and relation:
        relation = rng.choice(RELATIONS)
    elif what == "swap" and len(shapes) == 2 and (relation or all(colors)):
        shapes.reverse()
    return Ask(ask.kind, tuple(shapes), tuple(colors), count, relation)


def other_caption(ask, rng):
    """A caption of a wish that differs from `ask` in one thing and is not held out."""
    while True:
        new = changed(ask, rng)
        if new != ask and len(set(new.shapes)) == len(new.shapes) and not held_out(new):
            return free(new, rng) if rng.random() < 0.33 else verbatim(new)


def all_asks(task):
    """Every wish of a task in GenEval's wording."""
    pairs = lambda values: [(a, b) for a in values for b in values if a != b]
    if task in ("single_object", "colors"):
        return [Ask("one", (s,), (c,)) for s in SHAPES for c in (COLOR_NAMES if task == "colors" else [None])]
    if task == "counting":
        return [Ask("count", (s,), (None,), n) for s in SHAPES for n in (2, 3, 4)]
    if task == "position":
        return [Ask("relation", p, (None, None), 1, r) for p in pairs(SHAPES) for r in RELATIONS]
    colors = pairs(COLOR_NAMES) if task == "color_attr" else [(None, None)]
    return [Ask("two", p, c) for p in pairs(SHAPES) for c in colors]


def tuning_asks(per_task, seed):
    """Wishes of the tuning half of `ttsvar eval scenes`: of position and colour attribution every second held-out one."""
    out = []
    for task in TASKS:
        asks = all_asks(task)
        if task in ("position", "color_attr"):
            asks = sorted(filter(held_out, asks), key=lambda ask: fnv(verbatim(ask)))[1::2]
        elif task == "two_object":
            asks = list(filter(held_out, asks))
        random.Random(seed).shuffle(asks)
        out += [asks[i % len(asks)] for i in range(per_task)]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--count", type=int, default=16_000)
    parser.add_argument("--captions", type=int, default=3, help="further captions per prompt")
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--tuning", type=int, help="write this many tuning prompts per task instead")
    args = parser.parse_args()
    if args.tuning:
        lines = [json.dumps({"prompt": verbatim(ask)}) + "\n" for ask in tuning_asks(args.tuning, args.seed)]
        args.out.write_text("".join(lines))
        return
    rng, lines = random.Random(args.seed), []
    for prompt in training_prompts(args.count, args.seed):
        ask = ask_of(prompt)
        captions = [other_caption(ask, rng) for _ in range(args.captions)]
        lines.append(json.dumps({"prompt": prompt["caption"], "captions": captions}) + "\n")
    args.out.write_text("".join(lines))


if __name__ == "__main__":
    main()
