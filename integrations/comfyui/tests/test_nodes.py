"""Runs the example workflow as ComfyUI would: in this process, and on a `ttsvar serve`."""

from __future__ import annotations

import contextlib
import http.server
import importlib
import json
import os
import subprocess
import threading
from pathlib import Path

import conftest
import numpy as np
import pytest
import ttsvar

PACK = conftest.PACK
ROOT = PACK.parents[1]
PROGRAM = Path(os.environ.get("TTSVAR_BIN", ROOT / "target/release/ttsvar"))


class SaveImage:
    """ComfyUI's node, which keeps what it is given."""

    FUNCTION = "save"
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):
        prefix = {"filename_prefix": ("STRING", {"default": "ComfyUI"})}
        return {"required": {"images": ("IMAGE",)}, "optional": prefix}

    def save(self, images, filename_prefix="ComfyUI"):
        return images


CORE = {"SaveImage": SaveImage, "PreviewImage": SaveImage}


def nodes_of(pack):
    return {**pack.NODE_CLASS_MAPPINGS, **CORE}


def inputs_of(node):
    types = node.INPUT_TYPES()
    return {**types.get("required", {}), **types.get("optional", {})}


def run(pack, workflow):
    """Computes every node of a workflow, as ComfyUI does: checked inputs, links resolved."""
    results = {}

    def compute(key):
        if key in results:
            return results[key]
        node = nodes_of(pack)[workflow[key]["class_type"]]
        given = {}
        for name, value in workflow[key]["inputs"].items():
            linked = isinstance(value, list)
            given[name] = compute(value[0])[value[1]] if linked else value
            if linked:
                origin = nodes_of(pack)[workflow[value[0]]["class_type"]]
                assert origin.RETURN_TYPES[value[1]] == inputs_of(node)[name][0]
            else:
                check_widget(inputs_of(node)[name], value)
        missing = set(node.INPUT_TYPES().get("required", {})) - set(given)
        assert not missing
        results[key] = getattr(node(), node.FUNCTION)(**given)
        return results[key]

    return {key: compute(key) for key in workflow}


def check_widget(declared, value):
    kind, *settings = declared
    limits = settings[0] if settings else {}
    if isinstance(kind, list):
        assert value in kind
    else:
        types = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
        assert isinstance(value, types[kind])
    if kind in ("INT", "FLOAT"):
        assert limits.get("min", value) <= value <= limits.get("max", value)


@contextlib.contextmanager
def server(folder, token=None):
    """A running `ttsvar serve` with the demo; its address."""
    environment = {**os.environ, **({"TTSVAR_TOKEN": token} if token else {})}
    command = [PROGRAM, "serve", "--port", "0", "--folder", folder]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        line = process.stdout.readline()
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait(30)


def test_every_node_can_be_shown(pack):
    assert set(pack.NODE_DISPLAY_NAME_MAPPINGS) == set(pack.NODE_CLASS_MAPPINGS)
    for node in pack.NODE_CLASS_MAPPINGS.values():
        assert hasattr(node, node.FUNCTION) and node.CATEGORY == "ttsvar" and node.__doc__
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        for kind, *settings in inputs_of(node).values():
            if isinstance(kind, list) and settings:
                assert settings[0]["default"] in kind


def test_the_menus_are_those_of_the_package(pack):
    inputs = inputs_of(pack.NODE_CLASS_MAPPINGS["TTSVARLoadModel"])
    assert inputs["model"][0] == ["demo", *ttsvar.released_models()]
    search = inputs_of(pack.NODE_CLASS_MAPPINGS["TTSVARSearchImage"])
    assert sorted(search["method"][0]) == sorted(ttsvar.Method.__args__)
    plan = inputs_of(pack.NODE_CLASS_MAPPINGS["TTSVARSearchPlan"])
    assert {"plan" if name == "plan_file" else name for name in plan} <= set(ttsvar.OPTIONS)


def test_the_example_finds_the_image_of_the_command_line(pack, workflow, shown):
    results = run(pack, workflow)
    images, tree, trace = results["4"]
    assert images.shape == (2, 64, 64, 3) and images.dtype == np.float32
    assert tree.shape[0] == 1 and tree.shape[3] == 3 and 0 <= tree.min() <= tree.max() <= 1
    expected = ttsvar.Pipeline.load("demo").generate(
        "a blue star above a red ring", method="tts-var", n=2, seed=7, steer="auto", best=2
    )
    for image, best in zip(np.asarray(images), expected.best_images(), strict=True):
        assert np.array_equal(np.rint(image * 255).astype(np.uint8), np.asarray(best))
    assert json.loads(trace)["settings"]["steer"] == "auto"
    scales = len(expected.trace["scales"])
    assert [value for value, *_ in shown] == [*range(1, scales + 1), scales]
    kind, preview, largest = shown[0][2]
    assert (kind, largest) == ("JPEG", 512) and preview.size == (256, 256)  # 16 candidates


def test_the_text_encoder_may_have_a_type_of_its_own(pack):
    load = pack.NODE_CLASS_MAPPINGS["TTSVARLoadModel"]()
    for text_dtype, recorded in [("q8", "q8"), ("as dtype", None)]:
        (model,) = load.load("demo", "f32", "cpu", text_dtype=text_dtype)
        trace = model.pipeline.generate("a ring", method="raw", seed=1).trace
        assert trace["settings"].get("text_dtype") == recorded


def test_the_workflow_of_the_editor_is_the_same_graph(pack, workflow):
    editor = json.loads((PACK / "example_workflows/ttsvar_demo.json").read_text())
    links = {link[0]: link for link in editor["links"]}
    for node in editor["nodes"]:
        expected = workflow[str(node["id"])]
        assert node["type"] == expected["class_type"]
        for place, entry in enumerate(node["inputs"]):
            _, origin, slot, target, target_slot, kind = links[entry["link"]]
            assert [str(origin), slot] == expected["inputs"][entry["name"]]
            assert (target, target_slot, kind) == (node["id"], place, entry["type"])
        # Widgets are in the order of the declaration; a seed is followed by what happens to it
        values = iter(node["widgets_values"])
        declared = inputs_of(nodes_of(pack)[node["type"]])
        widgets = [
            name
            for name, (kind, *_) in declared.items()
            if isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN")
        ]
        for name in widgets:
            if name in expected["inputs"]:
                assert next(values) == expected["inputs"][name]
            if name == "seed":
                assert next(values) == "fixed"
        assert next(values, None) is None


def test_scorers_are_mixed_in_a_chain(pack):
    mix = pack.NODE_CLASS_MAPPINGS["TTSVARMixScorers"]().mix
    (one,) = mix("image-reward", 1.0)
    assert mix("hps", 2.5, one) == ("image-reward=1,hps=2.5",)


def test_settings_that_are_zero_or_empty_are_those_of_the_model(pack):
    plan = pack.NODE_CLASS_MAPPINGS["TTSVARSearchPlan"]().plan
    assert plan() == ({},)
    assert plan(budget=" 3images ", cfg=2.0) == ({"budget": "3images", "cfg": 2.0},)


def test_the_button_that_stops_ends_a_search(pack, workflow, comfy, monkeypatch):
    def stop():
        raise conftest.Interrupted

    monkeypatch.setattr(
        comfy.model_management, "throw_exception_if_processing_interrupted", stop
    )
    with pytest.raises(conftest.Interrupted):
        run(pack, workflow)


def test_a_server_finds_the_same_images(pack, workflow, shown, tmp_path, monkeypatch):
    here = np.asarray(run(pack, {**workflow})["4"][0])
    assert len(here) > 1
    shown.clear()
    with server(tmp_path, token="a-token-of-a-test") as address:
        monkeypatch.setenv("TTSVAR_TOKEN", "a-token-of-a-test")
        workflow["2"] = {"class_type": "TTSVARConnectServer", "inputs": {"address": address}}
        images, tree, trace = run(pack, workflow)["4"]
        assert np.array_equal(np.asarray(images), here)
        assert tree.shape[1] > 64 and json.loads(trace)["seed"] == 7
        assert len([preview for *_, preview in shown if preview]) == len(
            json.loads(trace)["scales"]
        )
        workflow["4"]["inputs"] |= {"seed": 8, "previews": False, "best": 1}
        assert np.asarray(run(pack, workflow)["4"][0]).shape == (1, 64, 64, 3)
        workflow["4"]["inputs"]["n"] = 4096
        with pytest.raises(RuntimeError, match="candidates"):
            run(pack, workflow)
        monkeypatch.setenv("TTSVAR_TOKEN", "another-token")
        with pytest.raises(RuntimeError, match="token"):
            run(pack, workflow)


@contextlib.contextmanager
def scripted(events):
    """A server that takes one job and sends these events. Its address, and the paths of POST requests.
    Cancelling fails, as it does when a job is over."""
    posted = []

    class Script(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, status, body):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self):
            posted.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/jobs":
                self.answer(202, '{"id": "a1"}')
            else:
                self.answer(409, '{"error": {"message": "job `a1` is already over"}}')

        def do_GET(self):
            events_path = self.path == "/v1/jobs/a1/events"
            self.answer(200 if events_path else 404, events if events_path else "{}")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Script) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", posted
        running.shutdown()
        thread.join()


STARTED = 'event: started\ndata: {"scales": [1], "plan": {}}\n\n'


@pytest.mark.parametrize(
    ("events", "message", "cancels"),
    [
        (
            STARTED + 'event: failed\ndata: {"error": "the disk is full"}\n\n',
            "ended: the disk is full",
            False,
        ),
        ('event: interrupted\ndata: {"error": null}\n\n', "ended: interrupted", False),
        (STARTED + ":\n\n", "stopped sending events", True),
        ("", "stopped sending events", True),
    ],
)
def test_the_end_of_a_search_on_a_server_is_the_error(pack, shown, events, message, cancels):
    with scripted(events) as (address, posted):
        with pytest.raises(RuntimeError, match=message):
            search_on(pack, address)
        assert posted == ["/v1/jobs", *["/v1/jobs/a1/cancel"] * cancels]


def search_on(pack, address):
    """Searches on a server."""
    model = importlib.import_module(f"{pack.__name__}.remote").Server(address, None)
    node = pack.NODE_CLASS_MAPPINGS["TTSVARSearchImage"]()
    return node.search(model, "a red circle", 0, "auto", 0, 1)


def test_the_button_that_stops_ends_a_search_that_waits_on_a_server(pack, comfy, monkeypatch):
    def stop():
        raise conftest.Interrupted

    monkeypatch.setattr(
        comfy.model_management, "throw_exception_if_processing_interrupted", stop
    )
    with scripted(":\n\n") as (address, posted):
        with pytest.raises(conftest.Interrupted):
            search_on(pack, address)
        assert posted == ["/v1/jobs", "/v1/jobs/a1/cancel"]


def test_a_class_takes_the_place_of_the_prompt(pack):
    asked = []

    class Model:
        def search(self, search, watcher):
            asked.append(search)
            raise conftest.Interrupted

    node = pack.NODE_CLASS_MAPPINGS["TTSVARSearchImage"]()
    for class_name in (" goldfish ", ""):
        with pytest.raises(conftest.Interrupted):
            node.search(Model(), "a red circle", 0, "raw", 1, 1, class_name=class_name)
    assert [(one.prompt, one.options.get("class")) for one in asked] == [
        (None, "goldfish"),
        ("a red circle", None),
    ]


def test_a_server_that_is_not_there_is_named(pack):
    connect = pack.NODE_CLASS_MAPPINGS["TTSVARConnectServer"]().connect
    with pytest.raises(RuntimeError, match="127.0.0.1:9 does not answer"):
        connect("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="expected an address"):
        connect("file:///etc/passwd")
