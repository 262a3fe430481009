"""Searches on many machines: a list of prompts, or an evaluation, over Ray actors.

A picture depends on weights, settings, prompt and seed only, so that it comes out the same whoever paints it. Workers come and
go: what a lost worker was at is done again by another, and only this side writes files.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import ray

from . import _native
from ._pipeline import named_options

CALLABLES = ("scorer", "extractor")
"""Arguments of `Pipeline.generate` that choose among images; they travel to the workers. A scorer may also be a name, as in
`Pipeline.load`."""

MOST_LOST = 3
"""How many workers may be lost over one job: then the job itself is at fault, or the machines are."""


class _Worker:
    """A model on some machine."""

    def __init__(self, threads: int) -> None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # before anything is computed

    def load(self, model: str, weights: str | None, dtype: str, device: str, options: dict[str, Any]) -> int:
        """Gets ready; returns the process, so that one knows whom one works with."""
        scorer = options.pop("scorer", None)
        named = scorer if isinstance(scorer, str) else None
        self.system = _native.System.open(model, weights, dtype, device, named)
        self.judges = (None if named else scorer, options.pop("extractor", None))
        self.options = options
        return os.getpid()

    def described(self) -> dict[str, Any]:
        """What a search would record of itself."""
        described: dict[str, Any] = json.loads(self.system.described(self.options, *self.judges))
        return described

    def paint(self, prompt: str, seed: int) -> tuple[bytes, str]:
        """The file of the best image of a prompt, and its trace."""
        arrays, trace, best = self.system.generate(prompt, self.options, seed, *self.judges)
        return _native.png(arrays[best], trace), trace

    def scenes(self, *asked: Any) -> str:
        """The setup of an evaluation; the arguments are those of `_native.Evaluation.scenes`."""
        return _native.Evaluation.scenes(self.system, self.options, *asked).setup

    def attempt(self, setup: str, one: str, images: bool) -> list[tuple[str, bytes | None]]:
        """The judged images of one try."""
        return _native.Evaluation.of(setup).attempt(self.system, self.options, one, images)


class Crew:
    """Workers with one model each. Use it as a context manager: it lets them go at the end.

    `workers` is their number, as many as fit by default; each takes `cpus` cores and `gpus` devices, and paints on `device`.
    """

    def __init__(
        self,
        model: str = "demo",
        weights: str | os.PathLike[str] | None = None,
        dtype: str = "f32",
        *,
        workers: int | None = None,
        cpus: int = 1,
        gpus: float = 0,
        options: dict[str, Any] | None = None,
    ) -> None:
        if not ray.is_initialized():
            ray.init()
        there = ray.cluster_resources()
        fit = int(there.get("GPU", 0) // gpus) if gpus else int(there.get("CPU", 1) // cpus)
        self._count = max(1, fit) if workers is None else workers
        if self._count < 1:
            raise ValueError(f"a crew of {self._count} workers; it takes at least 1")
        self._kind = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Worker)
        self._threads = cpus
        device = "cuda" if gpus else "cpu"
        self._load = (model, None if weights is None else os.fspath(weights), dtype, device, options or {})
        self._processes: dict[Any, int | None] = {}
        """All workers, with the process of those that are ready."""
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, int | None]] = {}
        """What is waited for: the worker and the place of its job, none while it loads."""
        self._lost: Counter[int | None] = Counter()
        """How many workers were lost over each job."""

    def __enter__(self) -> Crew:
        for _ in range(self._count):
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._processes:
            ray.kill(worker)
        self._processes, self._idle, self._busy = {}, [], {}

    @property
    def at_work(self) -> list[int]:
        """The processes that have a job at present."""
        working = [self._processes[worker] for worker, job in self._busy.values() if job is not None]
        return [process for process in working if process is not None]

    def run(self, method: str, jobs: Sequence[tuple[Any, ...]], done: Callable[[int, Any], None]) -> None:
        """Has a method of the workers called for every job, and hands over each result, with the place of its job, once and
        as soon as it is there."""
        waiting = deque(range(len(jobs)))
        while waiting or any(job is not None for _, job in self._busy.values()):
            while waiting and self._idle:
                worker, job = self._idle.pop(), waiting.popleft()
                self._busy[getattr(worker, method).remote(*jobs[job])] = (worker, job)
            ready, _ = ray.wait(list(self._busy), num_returns=1)
            for reference in ready:
                worker, finished = self._busy.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayActorError as error:
                    self._replace(worker, finished, error)
                    if finished is not None:
                        waiting.appendleft(finished)
                    continue
                self._idle.append(worker)
                if finished is None:
                    self._processes[worker] = result
                else:
                    done(finished, result)

    def call(self, method: str, *arguments: Any) -> Any:
        """What one of the workers answers."""
        answers: list[Any] = []
        self.run(method, [arguments], lambda _, answer: answers.append(answer))
        return answers[0]

    def _start(self) -> None:
        worker = self._kind.remote(self._threads)
        self._processes[worker] = None
        self._busy[worker.load.remote(*self._load)] = (worker, None)

    def _replace(self, worker: Any, job: int | None, error: Exception) -> None:
        self._lost[job] += 1
        if self._lost[job] > MOST_LOST * (self._count if job is None else 1):
            raise error
        ray.kill(worker)  # it may only be out of reach
        del self._processes[worker]
        self._start()


def generate(
    prompts: Iterable[str],
    out: str | os.PathLike[str],
    *,
    seed: int,
    model: str = "demo",
    weights: str | os.PathLike[str] | None = None,
    dtype: str = "f32",
    resume: bool = False,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0,
    **options: Any,
) -> list[Path]:
    """Paints a list of prompts: the same files as `ttsvar generate --prompts FILE --out DIR --trace DIR --seed SEED`, an image
    and a trace for each. `options` are those of `Pipeline.generate`, by name: method, n, plan, cfg, scorer and so on.

    Returns the images, in the order of the prompts. `resume` goes on in a folder where the same was begun.
    """
    folder, texts, options = Path(out), list(prompts), _options(options, CALLABLES)
    stems = [f"{number:04}-{_native.slug(text)}" for number, text in enumerate(texts, 1)]
    images = [folder / f"{stem}.png" for stem in stems]
    traces = [folder / f"{stem}.trace.json" for stem in stems]
    there = [image for image in images if image.exists()]
    if there and not resume:
        raise ValueError(f"{there[0]} is there already: resume=True goes on with it; or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [(seed + place) % 2**64 for place in range(len(texts))]
    with Crew(model, weights, dtype, workers=workers, cpus=cpus, gpus=gpus, options=options) as crew:
        described = crew.call("described")
        open_ = [place for place, image in enumerate(images) if not image.exists()]
        for place in set(range(len(texts))) - set(open_):
            _check(traces[place], {**described, "prompt": texts[place].strip(), "seed": seeds[place]})

        def keep(job: int, painted: tuple[bytes, str]) -> None:
            place = open_[job]
            _native.write(traces[place], painted[1].encode())
            _native.write(images[place], painted[0])  # the last: it says that all is there

        crew.run("paint", [(texts[place], seeds[place]) for place in open_], keep)
    return images


def evaluate(
    out: str | os.PathLike[str],
    *,
    methods: Sequence[str] = ("raw", "importance", "best-of-n", "tts-var"),
    n: Sequence[int] = (1, 2, 4, 8),
    prompts: int = 300,
    samples: int = 4,
    prompt_seed: int = 1,
    split: str = "test",
    seed: int = 0,
    model: str = "demo",
    weights: str | os.PathLike[str] | None = None,
    dtype: str = "f32",
    scorer: str | None = None,
    resume: bool = False,
    images: bool = False,
    on_record: Callable[[dict[str, Any]], object] | None = None,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0,
    **options: Any,
) -> dict[str, Any]:
    """`ttsvar eval scenes`, spread over workers: the same `setup.json` and the same lines in `records.jsonl`, in any order and
    with other seconds. `images` keeps every image, `scorer` names who judges during the searches, as in `Pipeline.load`; `options`
    say how images are to look: cfg, tau, top_p and so on.

    Returns the summary. `resume` goes on in a folder where this or the command line began, and the command line goes on with
    this: `ttsvar eval scenes --resume` with the same arguments adds tables and plots.
    """
    folder, options = Path(out), _options(options) | ({"scorer": scorer} if scorer else {})
    asked = (split, prompts, prompt_seed, list(methods), list(n), samples, seed)
    with Crew(model, weights, dtype, workers=workers, cpus=cpus, gpus=gpus, options=options) as crew:
        setup = crew.call("scenes", *asked)
        evaluation = _native.Evaluation.of(setup)
        log = _native.Log.open(folder, evaluation, resume)
        tries = evaluation.tries(log)

        def keep(_: int, judged: list[tuple[str, bytes | None]]) -> None:
            for text, png in judged:
                record: dict[str, Any] = json.loads(text)
                if png is not None:
                    _keep_image(folder / "images", record, png)
                log.add(text)
                if on_record is not None:
                    on_record(record)

        crew.run("attempt", [(setup, one, images) for one in tries], keep)
    summary: dict[str, Any] = json.loads(evaluation.summary(log))
    return summary


def _keep_image(folder: Path, record: dict[str, Any], png: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    method = _native.slug(record["method"])
    _native.write(folder / f"{record['case']:04}-{record['sample']}-{method}-{record['n']}.png", png)


def _check(trace: Path, expected: dict[str, Any]) -> None:
    """Whether a trace is of this very search."""
    found = json.loads(trace.read_text())
    differing = [name for name, value in expected.items() if found.get(name) != value]
    if differing:
        raise ValueError(f"{trace} is of another search: {', '.join(differing)} differ; choose another folder")


def _options(given: dict[str, Any], more: Sequence[str] = ()) -> dict[str, Any]:
    """Options by name; a plan file is read here, since workers may not have it."""
    options = named_options(given, more)
    plan = options.get("plan")
    if isinstance(plan, os.PathLike) or (isinstance(plan, str) and "=" not in plan):
        options["plan"] = Path(plan).read_text()
    return options
