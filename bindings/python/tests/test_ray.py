"""Searches on the workers of a local Ray cluster: no image is lost or repeated, and each is the
same as on one machine."""

import inspect
import json
import os
import shutil
import signal

import pytest
import ray

import ttsvar.ray

METHODS, SIZES, PROMPTS, SAMPLES = ["raw", "best-of-n", "tts-var"], [1, 2], 6, 2
ARGUMENTS = {
    "methods": METHODS,
    "n": SIZES,
    "prompts": PROMPTS,
    "samples": SAMPLES,
    "prompt_seed": 2,
    "seed": 3,
    "consistency": 2,
}
IMAGES = PROMPTS * SAMPLES * 5  # raw has one size only


@pytest.fixture(scope="module", autouse=True)
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # tests stay on this machine
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def crews(monkeypatch):
    """All crews. Each is complete before it starts, so that it can lose a worker."""
    seen = []

    class Seen(ttsvar.ray.Crew):
        def __enter__(self):
            seen.append(self)
            crew = super().__enter__()
            while any(job is None for _, job in self._busy.values()):
                self.call("described", "a ring")
            return crew

    monkeypatch.setattr(ttsvar.ray, "Crew", Seen)
    return seen


@pytest.fixture(scope="module")
def on_one_machine(command_line, tmp_path_factory):
    """The results of the command line."""
    folder = tmp_path_factory.mktemp("line") / "out"
    command_line("eval", "scenes", "--images", "--out", folder, *flags())
    return folder


def flags():
    flags = {
        "--methods": ",".join(METHODS),
        "--n": ",".join(map(str, SIZES)),
        "--prompts": PROMPTS,
        "--samples": SAMPLES,
    }
    flags |= {"--prompt-seed": 2, "--seed": 3, "--consistency": 2}
    return [word for pair in flags.items() for word in pair]


def records(folder):
    """The records of an evaluation by key, without the seconds, which differ from run to run."""
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    for line in lines:
        del line["cost"]["seconds"]
    by_name = {(line["case"], line["sample"], line["method"], line["n"]): line for line in lines}
    assert len(by_name) == len(lines), "an image was recorded twice"
    return by_name


def timeless(summary):
    for row in summary["methods"]:
        del row["cost"]["seconds"]
    return summary


def test_an_evaluation_has_the_defaults_of_the_command_line(command_line):
    ours = {
        name: parameter.default
        for name, parameter in inspect.signature(ttsvar.ray.evaluate).parameters.items()
    }
    shown = " ".join(command_line("help", "eval", "scenes").stdout.split())
    for name in ("methods", "n"):
        of_flag = shown.split(f"--{name} <", 1)[1].split("[default: ", 1)[1].split("]", 1)[0]
        assert ",".join(map(str, ours[name])) == of_flag
    for name in ("prompts", "samples", "consistency"):
        of_flag = shown.split(f"--{name} <", 1)[1].split("[default: ", 1)[1]
        assert of_flag.startswith(f"{ours[name]}, ")


def test_workers_may_keep_the_text_encoder_in_another_type(tmp_path):
    settings = {"method": "raw", "seed": 1, "workers": 1, "text_dtype": "q8"}
    (image,) = ttsvar.ray.generate(["a ring"], tmp_path, **settings)
    trace = json.loads(image.with_suffix(".trace.json").read_text())
    assert trace["settings"]["text_dtype"] == "q8"
    options = {"methods": ["raw"], "n": [1], "prompts": 1, "samples": 1, "consistency": 0}
    ttsvar.ray.evaluate(tmp_path / "eval", **options, workers=1, text_dtype="q8")
    setup = json.loads((tmp_path / "eval/setup.json").read_text())
    assert "q8" in json.dumps(setup)


def images_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_an_evaluation_survives_the_loss_of_a_worker(on_one_machine, crews, tmp_path):
    seen = []

    def on_record(record):
        seen.append(record)
        if len(seen) == IMAGES // 2:
            os.kill(crews[0].at_work[0], signal.SIGKILL)

    summary = ttsvar.ray.evaluate(
        tmp_path / "out", **ARGUMENTS, images=True, workers=2, on_record=on_record
    )
    assert sum(crews[0]._lost.values()) == 1
    assert len(seen) == IMAGES
    assert records(tmp_path / "out") == records(on_one_machine)
    assert images_in(tmp_path / "out/images") == images_in(on_one_machine / "images")
    assert (tmp_path / "out/setup.json").read_bytes() == (
        on_one_machine / "setup.json"
    ).read_bytes()
    assert timeless(summary) == timeless(json.loads((on_one_machine / "summary.json").read_text()))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in on_one_machine.iterdir()
    )
    timed = {"records.jsonl", "summary.json", "curves.csv", "table.txt", "lock"}
    for path in on_one_machine.iterdir():
        ours = tmp_path / "out" / path.name
        if path.name == "paths.jsonl":
            assert sorted(ours.read_text().splitlines()) == sorted(path.read_text().splitlines())
        elif path.is_file() and path.name not in timed:
            assert ours.read_bytes() == path.read_bytes(), path.name


def test_an_evaluation_resumes_where_it_stopped(on_one_machine, command_line, tmp_path):
    class Stop(Exception):
        pass

    seen = []

    def on_record(record):
        seen.append(record)
        if len(seen) == 7:
            raise Stop

    folder = tmp_path / "out"
    with pytest.raises(Stop):
        ttsvar.ray.evaluate(folder, **ARGUMENTS, workers=2, on_record=on_record)
    with (folder / "records.jsonl").open("a") as lines:
        lines.write('{"case": 0, "half a li')
    with pytest.raises(ValueError, match="already contains an evaluation"):
        ttsvar.ray.evaluate(folder, **ARGUMENTS, workers=1)
    with pytest.raises(ValueError, match="a different seed"):
        ttsvar.ray.evaluate(folder, **{**ARGUMENTS, "seed": 4}, workers=1, resume=True)
    ttsvar.ray.evaluate(folder, **ARGUMENTS, workers=2, resume=True, on_record=seen.append)
    assert len(seen) == IMAGES
    assert records(folder) == records(on_one_machine)
    command_line("eval", "scenes", "--resume", "--out", folder, *flags())
    assert records(folder) == records(on_one_machine)


def test_records_that_cannot_be_are_refused_and_repeated_ones_count_once(on_one_machine, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(on_one_machine, folder)
    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    (folder / "records.jsonl").write_text("".join([*lines, lines[0]]))
    with pytest.warns(ttsvar.SearchWarning, match="1 line repeats an earlier one"):
        summary = ttsvar.ray.evaluate(folder, **ARGUMENTS, workers=1, resume=True)
    assert timeless(summary) == timeless(json.loads((on_one_machine / "summary.json").read_text()))
    wrong = {**json.loads(lines[0]), "correct": 5.0}
    (folder / "records.jsonl").write_text("".join([json.dumps(wrong) + "\n", *lines[1:]]))
    with pytest.raises(ValueError, match="line 1: `correct` is 5"):
        ttsvar.ray.evaluate(folder, **ARGUMENTS, workers=1, resume=True)


def test_warnings_of_workers_reach_the_caller(tmp_path):
    with pytest.warns(ttsvar.SearchWarning, match="prompt 2: the generator does not know .* zorble"):
        ttsvar.ray.generate(
            ["a ring", "a zorble"], tmp_path / "out", seed=1, method="raw", workers=1
        )


def test_a_list_of_prompts_survives_the_loss_of_a_worker(
    command_line, crews, monkeypatch, tmp_path
):
    prompts = [
        "a red circle",
        "two blue stars",
        "a ring",
        "a green cross above a red star",
        "a ring",
        "three yellow squares",
    ]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    folder = tmp_path / "line"
    arguments_of_list = [
        "--prompts",
        tmp_path / "prompts.txt",
        "--seed",
        5,
        "--method",
        "best-of-n",
        "--n",
        2,
    ]
    command_line("generate", *arguments_of_list, "--out", folder, "--trace", folder)

    written, write = [], ttsvar._native.write

    def write_and_kill(path, data):
        write(path, data)
        written.append(path)
        if len(written) == 4:
            os.kill(crews[0].at_work[0], signal.SIGKILL)

    monkeypatch.setattr(ttsvar._native, "write", write_and_kill)
    arguments = {"seed": 5, "method": "best-of-n", "n": 2}
    images = ttsvar.ray.generate(prompts, tmp_path / "out", **arguments, workers=2)
    assert sum(crews[0]._lost.values()) == 1
    assert len(written) == len(set(written)) == 2 * len(prompts)
    assert images_in(tmp_path / "out") == images_in(folder) and len(images) == len(prompts)
    for path in folder.glob("*.trace.json"):
        ours = json.loads((tmp_path / "out" / path.name).read_text())
        theirs = json.loads(path.read_text())
        del ours["cost"]["seconds"], theirs["cost"]["seconds"]
        assert ours == theirs

    images[3].unlink()
    with pytest.raises(ValueError, match="already exists"):
        ttsvar.ray.generate(prompts, tmp_path / "out", **arguments, workers=1)
    with pytest.raises(ValueError, match="belongs to another search: plan, settings differ"):
        ttsvar.ray.generate(
            prompts, tmp_path / "out", **{**arguments, "n": 3}, workers=1, resume=True
        )
    written.clear()
    monkeypatch.setattr(
        ttsvar._native, "write", lambda path, data: (write(path, data), written.append(path))
    )
    ttsvar.ray.generate(prompts, tmp_path / "out", **arguments, workers=1, resume=True)
    assert len(written) == 2 and images_in(tmp_path / "out") == images_in(folder)


def test_plans_and_scorers_are_sent_to_the_workers(pipeline, tmp_path):
    def redness(prompt, images):
        return images[..., 0].mean((1, 2)) - images[..., 1].mean((1, 2))

    (tmp_path / "plan.toml").write_text("start = 3\n")
    arguments = {"seed": 9, "plan": tmp_path / "plan.toml", "scorer": redness}
    images = ttsvar.ray.generate(["a circle"], tmp_path / "out", **arguments, workers=1)
    assert images[0].read_bytes() == pipeline.generate("a circle", **arguments).png()
    del arguments["scorer"]
    with pytest.raises(ValueError, match="belongs to another search: settings differ"):
        ttsvar.ray.generate(["a circle"], tmp_path / "out", **arguments, workers=1, resume=True)


def test_a_job_that_kills_every_worker_ends_the_run(monkeypatch):
    class Mortal(ttsvar.ray._Worker):
        def die(self):
            os._exit(1)

    monkeypatch.setattr(ttsvar.ray, "_Worker", Mortal)
    monkeypatch.setattr(ttsvar.ray, "MOST_LOST", 1)
    with ttsvar.ray.Crew(workers=1) as crew, pytest.raises(ray.exceptions.RayActorError):
        crew.run("die", [()], lambda *_: None)
    assert sum(crew._lost.values()) == 2


def test_errors_are_raised_by_the_caller(tmp_path):
    with pytest.raises(ValueError, match="unknown model `nothing`"):
        ttsvar.ray.generate(["a ring"], tmp_path / "a", seed=1, model="nothing", workers=1)
    with pytest.raises(TypeError, match="unknown arguments m; expected some of .*method"):
        ttsvar.ray.generate(["a ring"], tmp_path / "b", seed=1, m="raw")
    with pytest.raises(ValueError, match="leave method out"):
        ttsvar.ray.evaluate(tmp_path / "c", method="raw")


def test_classes_are_distributed_like_prompts(class_bundle, command_line, tmp_path):
    (tmp_path / "classes.txt").write_text("3\nClass 5\n")
    command_line(
        "generate", "--classes", tmp_path / "classes.txt", "--model", class_bundle, "--seed", 7,
        "--method", "raw", "--out", tmp_path / "line",
    )  # fmt: skip
    arguments = {"seed": 7, "model": str(class_bundle), "method": "raw"}
    images = ttsvar.ray.generate(None, tmp_path / "ray", classes=[3, "Class 5"], **arguments)
    assert len(images) == 2
    for image in images:
        assert image.read_bytes() == (tmp_path / "line" / image.name).read_bytes()
    again = ttsvar.ray.generate(
        None, tmp_path / "ray", classes=[3, "Class 5"], resume=True, **arguments
    )
    assert again == images
    for prompts, classes in [(None, None), (["a cat"], [3])]:
        with pytest.raises(TypeError, match="give either prompts or"):
            ttsvar.ray.generate(prompts, tmp_path / "ray", classes=classes, **arguments)
