"""Models by repository and variant, and their files in a Hugging Face cache."""

import hashlib
import http.server
import json
import shutil
import threading
from pathlib import Path

import conftest
import pytest

import ttsvar

SCORER = conftest.RECORDED / "clip-tiny/model"
REPOSITORY = "openai/clip-vit-large-patch14"
COMMIT = "c0ffee"


class Hub(http.server.BaseHTTPRequestHandler):
    """A server that speaks as Hugging Face does, with one repository."""

    asked: list[str] = []

    def do_GET(self):
        Hub.asked.append(self.path)
        if self.path == f"/api/models/{REPOSITORY}/revision/main":
            files = [{"rfilename": path.name} for path in SCORER.iterdir()]
            return self.answer(json.dumps({"sha": COMMIT, "siblings": files}).encode())
        start = f"/{REPOSITORY}/resolve/{COMMIT}/"
        if self.path.startswith(start):
            content = (SCORER / self.path.removeprefix(start)).read_bytes()
            return self.answer(content, self.headers["Range"])
        self.send_error(404)

    def answer(self, content, wanted=None):
        part = content
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            end = int(last) + 1 if last else len(content)
            part = content[int(first) : end]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(content)}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", hashlib.sha256(content).hexdigest())
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The address of the server, as the hub, and an empty cache."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Hub.asked.clear()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield server
    server.shutdown()


def test_what_is_missing_is_downloaded_into_the_cache(hub, tmp_path):
    for _ in range(2):
        pipeline = ttsvar.Pipeline.from_pretrained("demo", scorer="clip")
        assert pipeline.generate("a ring", method="raw", seed=1).image.size == (64, 64)
    assert len([path for path in Hub.asked if path.startswith("/api")]) == 1
    snapshot = tmp_path / "cache/models--openai--clip-vit-large-patch14/snapshots/c0ffee"
    assert (snapshot / "config.json").read_bytes() == (SCORER / "config.json").read_bytes()


def test_local_files_only_asks_nobody(hub, tmp_path):
    own = ttsvar.Pipeline.from_pretrained("demo", scorer="demo-reward", local_files_only=True)
    assert own.name == "demo"
    with pytest.raises(ValueError, match="clip"):
        ttsvar.Pipeline.from_pretrained("demo", scorer="clip", local_files_only=True)
    shutil.copytree(SCORER, tmp_path / "mine/clip-vit-large-patch14")
    pipeline = ttsvar.Pipeline.from_pretrained(
        "demo", scorer="clip", cache_dir=tmp_path / "mine", local_files_only=True
    )
    assert pipeline.name == "demo" and Hub.asked == []


def test_a_download_shows_its_progress(hub, capsys, monkeypatch):
    monkeypatch.setattr("ttsvar._progress._tqdm", lambda: None)
    ttsvar.Pipeline.from_pretrained("demo", scorer="clip", progress=True)
    shown = capsys.readouterr().err
    assert "config.json [##############################] 100%" in shown


def test_a_failed_download_is_an_error_with_a_hint(hub, tmp_path):
    with pytest.raises(ValueError, match="google/flan-t5-xl answered 404|answered 404") as caught:
        ttsvar.Pipeline.from_pretrained("FoundationVision/Infinity", variant="2b")
    notes = getattr(caught.value, "__notes__", [str(caught.value)])
    assert "download" in "".join(notes)


@pytest.mark.parametrize(
    ("model", "variant", "message", "note"),
    [
        ("FoundationVision/Infinity", None, "no variant is given", "2b, 8b, 8b-512"),
        ("FoundationVision/Infinity", "3b", "no variant `3b`", "2b, 8b, 8b-512"),
        ("FoundationVision/var", None, "no variant is given", "d16, d20, d24, d30, d36"),
        ("FoundationVision/Infinty", "2b", "no released model", "did you mean"),
        ("nothing", None, "unknown model `nothing`", "infinity-2b"),
        ("demo", "2b", "only repositories have variants", ""),
        ("infinity-2b", "2b", "only repositories have variants", ""),
    ],
)
def test_wrong_names_are_refused(model, variant, message, note):
    with pytest.raises(ValueError, match=message) as caught:
        ttsvar.Pipeline.from_pretrained(model, variant=variant, local_files_only=True)
    assert note in "".join(getattr(caught.value, "__notes__", [str(caught.value)]))


@pytest.mark.parametrize("variant", ["2b", "2B", "infinity-2b"])
def test_variants_are_released_models(tmp_path, variant):
    with pytest.raises(ValueError, match="missing: infinity_2b_reg.pth"):
        ttsvar.Pipeline.from_pretrained(
            "FoundationVision/Infinity",
            variant=variant,
            cache_dir=tmp_path,
            local_files_only=True,
        )


class Bfloat16:
    """Prints as the type of PyTorch does."""

    def __str__(self):
        return "torch.bfloat16"


def test_types_are_ours_or_those_of_pytorch():
    for dtype in ("bf16", "bfloat16", Bfloat16()):
        pipeline = ttsvar.Pipeline.from_pretrained(torch_dtype=dtype)
        result = pipeline.generate("a ring", method="raw", seed=1)
        assert result.trace["settings"]["dtype"] == "bf16"
    with pytest.raises(ValueError, match="unknown data type `float16`"):
        ttsvar.Pipeline.from_pretrained(torch_dtype="float16")


def test_the_text_encoder_may_have_a_type_of_its_own():
    pipeline = ttsvar.Pipeline.from_pretrained(torch_dtype=Bfloat16(), text_dtype="q8")
    settings = pipeline.generate("a ring", method="raw", seed=1).trace["settings"]
    assert (settings["dtype"], settings["text_dtype"]) == ("bf16", "q8")
    pipeline = ttsvar.Pipeline.from_pretrained(text_dtype=Bfloat16())
    settings = pipeline.generate("a ring", method="raw", seed=1).trace["settings"]
    assert settings["text_dtype"] == "bf16"


def test_a_folder_is_a_model(tmp_path):
    assets = Path(__file__).resolve().parents[3] / "assets"
    bundle = next(path.parent for path in assets.rglob("bundle.toml"))
    pipeline = ttsvar.Pipeline.from_pretrained(bundle)
    assert pipeline("a ring", method="raw", generator=1).images[0].size == (64, 64)
