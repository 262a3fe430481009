"""Captions of scenes: what is asked for, how it is worded, how GenEval would check it, and what training never sees."""
import random
from dataclasses import dataclass

from world import COLOR_NAMES, KINDS, RELATIONS, SHAPES, SplitMix

PLURAL = {s: s + ("es" if s == "cross" else "s") for s in SHAPES}
NUMBERS = {2: "two", 3: "three", 4: "four"}
TASKS = ["single_object", "two_object", "counting", "colors", "position", "color_attr"]      # GenEval's six
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
OTHER_WORDS = {"left of": "to the left of", "right of": "to the right of", "above": "over", "below": "under"}
WORDS = (["a", "an", "the", "one", "photo", "picture", "image", "of", "and", "to", "left", "right", "above", "below",
          "over", "under"] + list(NUMBERS.values()) + SHAPES + list(PLURAL.values()) + COLOR_NAMES)
STRANGER = "?"                            # stands for any word outside WORDS; tokenizers map it to their unknown piece


@dataclass(frozen=True)
class Ask:
    """What a caption asks for. `colors[i]` is None where no colour is named; `count` and `relation` belong to their kinds."""
    kind: str
    shapes: tuple
    colors: tuple
    count: int = 1
    relation: str = ""

    @property
    def task(self):
        if self.kind == "one":
            return "colors" if self.colors[0] else "single_object"
        if self.kind == "two":
            return "color_attr" if all(self.colors) else "two_object"
        return "counting" if self.kind == "count" else "position"

    def metadata(self):
        """GenEval's rules: objects to be found, and for counting the number that must not be reached."""
        include = [{"class": s, "count": self.count} | ({"color": c} if c else {}) for s, c in zip(self.shapes, self.colors)]
        if self.kind == "relation":
            include = [include[1], include[0] | {"position": [self.relation, 0]}]
        exclude = [{"class": self.shapes[0], "count": self.count + 1}] if self.kind == "count" else []
        return {"task": self.task, "include": include, "exclude": exclude}

    def flipped(self):
        """The same wish with the objects named in the other order."""
        return Ask(self.kind, self.shapes[::-1], self.colors[::-1], self.count, OPPOSITE.get(self.relation, ""))


def article(word):
    return "an" if word[0] in "aeiou" else "a"


def noun(shape, color, count, word=""):
    """`a red star`, `three green rings`; `word` replaces the article."""
    if count > 1:
        return " ".join(w for w in (NUMBERS[count], color, PLURAL[shape]) if w)
    named = f"{color} {shape}" if color else shape
    return f"{word or article(named)} {named}"


def phrase(ask, words=("", ""), relation=None):
    first = noun(ask.shapes[0], ask.colors[0], ask.count, words[0])
    if ask.kind in ("one", "count"):
        return first
    return f"{first} {(relation or ask.relation) if ask.kind == 'relation' else 'and'} {noun(ask.shapes[1], ask.colors[1], 1, words[1])}"


def verbatim(ask):
    """GenEval's own wording."""
    return "a photo of " + phrase(ask)


def free(ask, rng):
    """One of many wordings: other or no beginning, other articles, other relation words, sometimes an unknown word."""
    start = rng.choices(["", "a photo of ", "a picture of ", "an image of "], [5, 3, 1, 1])[0]
    words = [rng.choices(["", "the", "one"], [10, 1, 1])[0] for _ in range(2)]
    relation = OTHER_WORDS[ask.relation] if ask.relation and rng.random() < 0.3 else None
    text = (start + phrase(ask, words, relation)).split()
    if rng.random() < 0.04:
        text.insert(rng.randrange(len(text)), STRANGER)
    return " ".join(text)


# ------------------------------------------------------------------------------------------ held-out combinations


def fnv(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & SplitMix.MASK
    return h


def held_out(ask):
    """One sixth of the two-object, position and two-colour combinations never occurs in training, in any wording."""
    if ask.kind in ("one", "count"):
        return False
    keep_colors = ask.kind == "two" and all(ask.colors)
    plain = ask if keep_colors else Ask(ask.kind, ask.shapes, (None, None), 1, ask.relation)
    return (fnv(verbatim(plain)) >> 7) % 6 == 0


# ------------------------------------------------------------------------------------------ captions of scenes

MASKS = {"one": ([(1,), (0,)], [6, 4]), "count": ([(0,), (1,)], [6, 4]),
         "two": ([(1, 1), (0, 0), (1, 0), (0, 1)], [10, 7, 1, 1]),
         "relation": ([(0, 0), (1, 1), (1, 0), (0, 1)], [12, 4, 1, 1])}          # which colours are named


def scene_ask(packed, row):
    """Everything that a packed scene shows, as an Ask with all colours named."""
    kind = KINDS[packed["kind"][row]]
    shapes = [SHAPES[s] for s in packed["shape"][row].tolist() if s >= 0]
    colors = [COLOR_NAMES[c] for c in packed["color"][row].tolist() if c >= 0]
    relation = RELATIONS[packed["relation"][row]] if kind == "relation" else ""
    if kind == "count":
        return Ask(kind, tuple(shapes[:1]), tuple(colors[:1]), len(shapes))
    return Ask(kind, tuple(shapes), tuple(colors), 1, relation)


def caption_of(full, rng):
    """A random caption that is true of the scene and not held out; None if the scene allows none."""
    masks, weights = MASKS[full.kind]
    for _ in range(12):
        ask = full.flipped() if len(full.shapes) == 2 and rng.random() < 0.5 else full
        mask = rng.choices(masks, weights)[0]
        ask = Ask(ask.kind, ask.shapes, tuple(c if m else None for c, m in zip(ask.colors, mask)), ask.count, ask.relation)
        if not held_out(ask):
            return verbatim(ask) if rng.random() < 0.4 else free(ask, rng)
    return None


def random_ask(rng, task):
    """A prompt of one task; `rng` is a SplitMix."""
    two = rng.pick_two
    if task in ("single_object", "colors"):
        return Ask("one", (rng.pick(SHAPES),), (rng.pick(COLOR_NAMES) if task == "colors" else None,))
    if task == "counting":
        return Ask("count", (rng.pick(SHAPES),), (None,), 2 + rng.below(3))
    if task == "position":
        return Ask("relation", two(SHAPES), (None, None), 1, rng.pick(RELATIONS))
    return Ask("two", two(SHAPES), two(COLOR_NAMES) if task == "color_attr" else (None, None))


def test_prompts(per_task=20, seed=10_000_019):
    """The test set: held-out combinations where a task has any; small tasks repeat their captions evenly."""
    out = []
    for number, task in enumerate(TASKS):
        rng, seen, tries = SplitMix(seed + number), [], 0
        while len(seen) < per_task:
            ask, tries = random_ask(rng, task), tries + 1
            rare = task in ("two_object", "position", "color_attr")
            wanted = held_out(ask) or not rare or tries > 4000      # few two-object captions are held out
            repeat = seen.count(ask) > len(seen) // {"single_object": 6, "counting": 18}.get(task, per_task)
            if wanted and not repeat:
                seen.append(ask)
        out += [{"task": a.task, "caption": verbatim(a), **{k: v for k, v in a.metadata().items() if k != "task"}} for a in seen]
    return out


def training_prompts(count, seed):
    """Prompts for the reward's samples: all tasks alike, a third worded freely, none held out."""
    rng, words, out = SplitMix(seed), random.Random(seed), []
    while len(out) < count:
        ask = random_ask(rng, TASKS[len(out) % len(TASKS)])
        if not held_out(ask):
            caption = free(ask, words) if words.random() < 0.33 else verbatim(ask)
            out.append({"caption": caption, **ask.metadata()})
    return out
