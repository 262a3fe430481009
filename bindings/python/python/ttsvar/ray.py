"""Searches on several machines: a list of prompts, or an evaluation, distributed over Ray actors.

An image depends only on weights, settings, prompt and seed, so it is the same on every worker. When
a worker is lost, another one repeats its job. Only the process that calls this module writes files.
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
from ._pipeline import named_options, warn

CALLABLES = ("scorer", "extractor")
"""The callables among the arguments of `Pipeline.generate`, which are sent to the workers. A scorer
may also be a name, as in `Pipeline.load`."""

MOST_LOST = 3
"""The number of workers that may be lost to one job. Beyond it, the job or the machines are at
fault."""


class _Worker:
    """A loaded model in a process of its own."""

    def __init__(self, threads: int) -> None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # before anything is computed

    def load(
        self,
        model: str,
        weights: str | None,
        dtype: str,
        text_dtype: str | None,
        device: str,
        options: dict[str, Any],
    ) -> int:
        """Loads the model and returns the process id."""
        scorer = options.pop("scorer", None)
        named = scorer if isinstance(scorer, str) else None
        self.system = _native.System.open(
            model, weights, dtype, device, named, text_dtype=text_dtype
        )
        self.callables = (None if named else scorer, options.pop("extractor", None))
        self.options = options
        return os.getpid()

    def subjects(self, classes: Sequence[int | str]) -> list[str]:
        """What scorers read of classes in place of a prompt."""
        return [self.system.subject(None, self._of_class(class_)) for class_ in classes]

    def described(self, prompt: str, class_: int | str | None = None) -> dict[str, Any]:
        """The settings that a search for a prompt, or for the class behind it, would record."""
        options = self._of_class(class_)
        described: dict[str, Any] = json.loads(
            self.system.described(prompt, options, *self.callables)
        )
        return described

    def generate(
        self, prompt: str | None, seed: int, class_: int | str | None
    ) -> tuple[bytes, str]:
        """The winner as a PNG, and the trace."""
        arrays, trace, best, _ = self.system.generate(
            prompt, self._of_class(class_), seed, *self.callables
        )
        return _native.png(arrays[best], trace), trace

    def _of_class(self, class_: int | str | None) -> dict[str, Any]:
        """The options with a class, if one is given."""
        return self.options if class_ is None else {**self.options, "class": class_}

    def scenes(self, *arguments: Any) -> tuple[str, list[str]]:
        """The setup of an evaluation, and warnings about its prompts. The arguments are those of
        `_native.Evaluation.scenes`."""
        evaluation = _native.Evaluation.scenes(self.system, self.options, *arguments)
        return evaluation.setup, evaluation.prompt_warnings(self.system, self.options)

    def run_sample(self, setup: str, sample: str, images: bool) -> list[tuple[str, bytes | None]]:
        """The records of one sample and, with `images`, its PNGs."""
        evaluation = _native.Evaluation.from_setup(setup)
        return evaluation.run_sample(self.system, self.options, sample, images)

    def run_paths(self, setup: str, case: int) -> str:
        """The scores of the images of a prompt after every scale."""
        evaluation = _native.Evaluation.from_setup(setup)
        return evaluation.run_paths(self.system, self.options, case)

    def sheet(self, setup: str) -> bytes:
        """The contact sheet of an evaluation."""
        return _native.Evaluation.from_setup(setup).sheet(self.system, self.options)


class Crew:
    """Workers with one model each. Use it as a context manager, which stops them at the end.

    `workers` is the number of workers, by default as many as fit. Each one takes `cpus` cores and
    `gpus` GPUs.
    """

    def __init__(
        self,
        model: str = "demo",
        weights: str | os.PathLike[str] | None = None,
        dtype: str = "f32",
        text_dtype: str | None = None,
        *,
        workers: int | None = None,
        cpus: int = 1,
        gpus: float = 0,
        options: dict[str, Any] | None = None,
    ) -> None:
        if not ray.is_initialized():
            ray.init()
        resources = ray.cluster_resources()
        if gpus:
            fitting = int(resources.get("GPU", 0) // gpus)
        else:
            fitting = int(resources.get("CPU", 1) // cpus)
        self._count = max(1, fitting) if workers is None else workers
        if self._count < 1:
            raise ValueError(f"workers must be 1 or more, found {self._count}")
        self._kind = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Worker)
        self._threads = cpus
        device = "cuda" if gpus else "cpu"
        folder = None if weights is None else os.fspath(weights)
        self._load = (model, folder, dtype, text_dtype, device, options or {})
        self._processes: dict[Any, int | None] = {}
        """All workers, with the process id of those that are ready."""
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, int | None]] = {}
        """Pending results: the worker and the index of its job, `None` while it loads."""
        self._lost: Counter[int | None] = Counter()
        """The number of workers that were lost to each job."""

    def __enter__(self) -> Crew:
        for _ in range(self._count):
            self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for worker in self._processes:
            ray.kill(worker)
        self._processes = {}
        self._idle = []
        self._busy = {}

    @property
    def at_work(self) -> list[int]:
        """The processes that are running a job."""
        working = [worker for worker, job in self._busy.values() if job is not None]
        processes = [self._processes[worker] for worker in working]
        return [process for process in processes if process is not None]

    def run(
        self, method: str, jobs: Sequence[tuple[Any, ...]], done: Callable[[int, Any], None]
    ) -> None:
        """Calls a method of the workers for every job. Calls `done` with the index of the job and
        its result exactly once per job, as soon as the result is available."""
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
        """The result of a method of one worker."""
        results: list[Any] = []
        self.run(method, [arguments], lambda _, result: results.append(result))
        return results[0]

    def _start(self) -> None:
        worker = self._kind.remote(self._threads)
        self._processes[worker] = None
        self._busy[worker.load.remote(*self._load)] = (worker, None)

    def _replace(self, worker: Any, job: int | None, error: Exception) -> None:
        self._lost[job] += 1
        if self._lost[job] > MOST_LOST * (self._count if job is None else 1):
            raise error
        ray.kill(worker)  # it may merely be unreachable
        del self._processes[worker]
        self._start()


def generate(
    prompts: Iterable[str] | None,
    out: str | os.PathLike[str],
    *,
    classes: Iterable[int | str] | None = None,
    seed: int,
    model: str = "demo",
    weights: str | os.PathLike[str] | None = None,
    dtype: str = "f32",
    text_dtype: str | None = None,
    resume: bool = False,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0,
    **options: Any,
) -> list[Path]:
    """Generates the images of a list of prompts: the same files as those of
    `ttsvar generate --prompts FILE --out DIR --trace DIR --seed SEED`, one image and one trace per
    prompt. `options` are those of `Pipeline.generate`: method, n, plan, cfg, scorer and so on.

    For a class-conditional model, `prompts` is None and `classes` has class numbers or names, as
    in the file for `ttsvar generate --classes FILE`.

    Returns the paths of the images, in the order of the prompts. `resume` continues a run that was
    started in the same folder.
    """
    folder = Path(out)
    if (prompts is None) == (classes is None):
        raise TypeError("give either prompts or, for a class-conditional model, None and classes")
    options = _options(options, CALLABLES)
    with Crew(
        model,
        weights,
        dtype,
        text_dtype,
        workers=workers,
        cpus=cpus,
        gpus=gpus,
        options=options,
    ) as crew:
        chosen = None if classes is None else list(classes)
        texts = list(prompts or ()) if chosen is None else crew.call("subjects", chosen)
        stems = [f"{number:04}-{_native.slug(text)}" for number, text in enumerate(texts, 1)]
        images = [folder / f"{stem}.png" for stem in stems]
        traces = [folder / f"{stem}.trace.json" for stem in stems]
        existing = [image for image in images if image.exists()]
        if existing and not resume:
            raise ValueError(
                f"{existing[0]} already exists; continue with resume=True, or choose another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        seeds = [(seed + index) % 2**64 for index in range(len(texts))]
        pending = [index for index, image in enumerate(images) if not image.exists()]
        for index in set(range(len(texts))) - set(pending):
            text = texts[index].strip()
            described = crew.call("described", text, None if chosen is None else chosen[index])
            expected = {**described, "prompt": text, "seed": seeds[index]}
            _check(traces[index], expected)

        def write(job: int, result: tuple[bytes, str]) -> None:
            index = pending[job]
            png, trace = result
            messages = _native.trace_warnings(trace)
            warn((f"prompt {index + 1}: {message}" for message in messages), stacklevel=2)
            _native.write(traces[index], trace.encode())
            _native.write(images[index], png)  # last, since it marks the prompt as done

        jobs = [
            (texts[index], seeds[index], None)
            if chosen is None
            else (None, seeds[index], chosen[index])
            for index in pending
        ]
        crew.run("generate", jobs, write)
    return images


def evaluate(
    out: str | os.PathLike[str],
    *,
    methods: Sequence[str] = ("raw", "best-of-n", "tts-var", "auto"),
    n: Sequence[int] = (1, 2, 4, 8),
    prompts: int = 300,
    samples: int = 4,
    prompt_seed: int = 1,
    split: str = "test",
    seed: int = 0,
    consistency: int = 60,
    model: str = "demo",
    weights: str | os.PathLike[str] | None = None,
    dtype: str = "f32",
    text_dtype: str | None = None,
    scorer: str | None = None,
    resume: bool = False,
    images: bool = False,
    on_record: Callable[[dict[str, Any]], object] | None = None,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0,
    **options: Any,
) -> dict[str, Any]:
    """Runs `ttsvar eval scenes` on workers and writes the same files: setup, records, tables, plots
    and the contact sheet, apart from the order of lines and the measured seconds. `images` keeps
    every image, `scorer` names the scorer of the searches, as in `Pipeline.load`, and `options` are
    those of the generator: cfg, tau, top_p and so on. The images of the first `consistency` prompts
    are scored after every scale.

    Returns the summary, as in `summary.json`. `resume` continues an evaluation that this function
    or the command line started in the folder; the command line can continue it in the same way. No
    other process may use the folder at the same time.
    """
    folder = Path(out)
    options = _options(options)
    if scorer:
        options["scorer"] = scorer
    arguments = (split, prompts, prompt_seed, list(methods), list(n), samples, seed)
    with Crew(
        model,
        weights,
        dtype,
        text_dtype,
        workers=workers,
        cpus=cpus,
        gpus=gpus,
        options=options,
    ) as crew:
        setup, prompt_warnings = crew.call("scenes", *arguments)
        evaluation = _native.Evaluation.from_setup(setup)
        log = _native.Log.open(folder, evaluation, resume)
        warn([*log.notes(), *prompt_warnings], stacklevel=3)
        pending = evaluation.pending(log)

        def add(_: int, results: list[tuple[str, bytes | None]]) -> None:
            for text, png in results:
                record: dict[str, Any] = json.loads(text)
                if png is not None:
                    _write_image(folder / "images", record, png)
                log.add(evaluation, text)
                if on_record is not None:
                    on_record(record)

        crew.run("run_sample", [(setup, sample, images) for sample in pending], add)

        def add_paths(_: int, paths: str) -> None:
            evaluation.add_paths(log, consistency, paths)

        cases = evaluation.pending_paths(log, consistency)
        crew.run("run_paths", [(setup, case) for case in cases], add_paths)
        summary: dict[str, Any] = json.loads(evaluation.write_results(log, consistency))
        _native.write(folder / "sheet.png", crew.call("sheet", setup))
    return summary


def _write_image(folder: Path, record: dict[str, Any], png: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    method = _native.slug(record["method"])
    name = f"{record['case']:04}-{record['sample']}-{method}-{record['n']}.png"
    _native.write(folder / name, png)


def _check(trace: Path, expected: dict[str, Any]) -> None:
    """Raises an error unless a trace belongs to the expected search."""
    found = json.loads(_native.read_text(trace))
    differing = [name for name, value in expected.items() if found.get(name) != value]
    if differing:
        raise ValueError(
            f"{trace} belongs to another search: {', '.join(differing)} differ; "
            "choose another folder"
        )


def _options(given: dict[str, Any], more: Sequence[str] = ()) -> dict[str, Any]:
    """Options by name. Files are read here, since workers may not have them."""
    options = named_options(given, more)
    plan = options.get("plan")
    if isinstance(plan, os.PathLike) or (isinstance(plan, str) and "=" not in plan):
        options["plan"] = _native.read_text(plan)
    steer = options.get("steer")
    if isinstance(steer, os.PathLike) or (isinstance(steer, str) and _is_path(steer, "={")):
        options["steer"] = _native.read_text(steer)
    questions = options.get("questions")
    if isinstance(questions, os.PathLike) or (
        isinstance(questions, str) and _is_path(questions, "\n{")
    ):
        options["questions"] = _native.read_text(questions)
    return options


def _is_path(text: str, signs: str) -> bool:
    """Whether a text is the path of a file, and not a name or the content with one of the signs."""
    return text not in ("auto", "off") and not any(sign in text for sign in signs)
