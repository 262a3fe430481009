"""The nodes. What they compute with is a backend: `local.py` or `remote.py`."""

from __future__ import annotations

import json

from . import host
from .backend import Search
from .remote import Server

CATEGORY = "ttsvar"

METHODS = [
    "auto",
    "raw",
    "best-of-n",
    "importance",
    "beam",
    "lookahead",
    "draft",
    "sequential",
    "tts-var",
]
SCORERS = [
    "demo-reward",
    "image-reward",
    "hps",
    "pick",
    "clip",
    "clip-100",
    "clip-2.5",
    "aesthetic",
    "vqa",
    "vqa-xxl",
    "relation",
    "openai",
]
ASPECTS = ["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "3:1", "1:3"]
MODELS = [
    "demo",
    "infinity-2b",
    "infinity-8b",
    "infinity-8b-512",
    "var-d16",
    "var-d20",
    "var-d24",
    "var-d30",
    "var-d36",
    "hart",
    "switti",
    "switti-ar",
    "switti-1024",
    "switti-1024-ar",
    "flexar-113m",
    "flexar-382m",
    "flexar-1b",
    "flexar-3b",
    "flexar-1b-class",
]
"""Those of the Python package, which need not be installed for a server; a test compares them."""

DTYPES = ["f32", "bf16", "q8"]

SAME_DTYPE = "as dtype"
"""The text encoder has the type of the other networks."""

LARGEST_SEED = 2**64 - 1


class LoadModel:
    """Loads a model in this process with the Python package `ttsvar`. What is missing of a released
    model is downloaded from Hugging Face into its cache, or into the folder `weights`."""

    CATEGORY = CATEGORY
    FUNCTION = "load"
    RETURN_TYPES = ("TTSVAR_MODEL",)
    RETURN_NAMES = ("model",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": (MODELS, {"default": "demo"}),
                "dtype": (DTYPES, {"default": "f32"}),
                "device": (["cpu", "cuda"], {"default": "cpu"}),
            },
            "optional": {
                "scorers": ("TTSVAR_SCORERS",),
                "weights": (
                    "STRING",
                    {"default": "", "tooltip": "Folder with the files; empty: the Hugging Face cache"},
                ),
                "folder": (
                    "STRING",
                    {"default": "", "tooltip": "Folder with a bundle.toml, in place of the model"},
                ),
                "download": ("BOOLEAN", {"default": True}),
                "text_dtype": (
                    [SAME_DTYPE, *DTYPES],
                    {"default": SAME_DTYPE, "tooltip": "The type of the text encoder alone"},
                ),
            },
        }

    def load(
        self,
        model,
        dtype,
        device,
        scorers=None,
        weights="",
        folder="",
        download=True,
        text_dtype=SAME_DTYPE,
    ):
        try:
            from .local import LocalModel
        except ModuleNotFoundError as error:
            raise RuntimeError(
                "this node needs the Python package ttsvar (`pip install ttsvar`); without it, "
                "connect to a `ttsvar serve`"
            ) from error
        return (
            LocalModel.load(
                folder or model,
                dtype,
                None if text_dtype == SAME_DTYPE else text_dtype,
                device,
                scorers,
                weights or None,
                download,
            ),
        )


class ConnectServer:
    """Searches on a `ttsvar serve`, which has the model, its scorers and its device."""

    CATEGORY = CATEGORY
    FUNCTION = "connect"
    RETURN_TYPES = ("TTSVAR_MODEL",)
    RETURN_NAMES = ("model",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"address": ("STRING", {"default": "http://127.0.0.1:8080"})},
            "optional": {
                "token_variable": (
                    "STRING",
                    {
                        "default": "TTSVAR_TOKEN",
                        "tooltip": "Environment variable with the server's token, which no "
                        "workflow should contain",
                    },
                )
            },
        }

    def connect(self, address, token_variable="TTSVAR_TOKEN"):
        return (Server.connect(address, token_variable),)


class MixScorers:
    """Adds a scorer to a mix. Scores are standardised before they are weighted and added."""

    CATEGORY = CATEGORY
    FUNCTION = "mix"
    RETURN_TYPES = ("TTSVAR_SCORERS",)
    RETURN_NAMES = ("scorers",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "scorer": (SCORERS, {"default": "demo-reward"}),
                "weight": ("FLOAT", {"default": 1.0, "min": 0.01, "max": 100.0, "step": 0.01}),
            },
            "optional": {"scorers": ("TTSVAR_SCORERS",)},
        }

    def mix(self, scorer, weight, scorers=None):
        added = f"{scorer}={weight:g}"
        return (f"{scorers},{added}" if scorers else added,)


class SearchPlan:
    """The settings of a search beyond method and n. Zero and empty mean the model's own."""

    CATEGORY = CATEGORY
    FUNCTION = "plan"
    RETURN_TYPES = ("TTSVAR_PLAN",)
    RETURN_NAMES = ("plan",)

    @classmethod
    def INPUT_TYPES(cls):
        number = {"default": 0.0, "min": 0.0, "max": 100.0, "step": 0.01}
        return {
            "required": {},
            "optional": {
                "plan_file": (
                    "STRING",
                    {
                        "default": "",
                        "multiline": True,
                        "tooltip": "What `ttsvar plan METHOD --toml` prints, in place of method and n",
                    },
                ),
                "budget": (
                    "STRING",
                    {"default": "", "tooltip": "Such as 60s, 2PFLOP or 3images, in place of n"},
                ),
                "finish": ("INT", {"default": 0, "min": 0, "max": 1024}),
                "cfg": ("FLOAT", number),
                "tau": ("FLOAT", number),
                "top_k": ("INT", {"default": 0, "min": 0, "max": 65536}),
                "top_p": ("FLOAT", {**number, "max": 1.0}),
                "steer": (["off", "auto"], {"default": "off"}),
                "pixels": ("STRING", {"default": "", "tooltip": "Such as 0.25M or 1M"}),
            },
        }

    def plan(
        self,
        plan_file="",
        budget="",
        finish=0,
        cfg=0.0,
        tau=0.0,
        top_k=0,
        top_p=0.0,
        steer="off",
        pixels="",
    ):
        options = {
            "plan": plan_file.strip(),
            "budget": budget.strip(),
            "finish": finish,
            "cfg": cfg,
            "tau": tau,
            "top_k": top_k,
            "top_p": top_p,
            "steer": "" if steer == "off" else steer,
            "pixels": pixels.strip(),
        }
        return ({name: value for name, value in options.items() if value},)


class SearchImage:
    """Searches for the best image of a prompt. The outputs are the best images, best first, the tree
    of the search, and its trace as JSON."""

    CATEGORY = CATEGORY
    FUNCTION = "search"
    RETURN_TYPES = ("IMAGE", "IMAGE", "STRING")
    RETURN_NAMES = ("images", "tree", "trace")

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("TTSVAR_MODEL",),
                "prompt": (
                    "STRING",
                    {"default": "a red circle and a blue star", "multiline": True},
                ),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": LARGEST_SEED,
                        "control_after_generate": True,
                    },
                ),
                "method": (METHODS, {"default": "auto"}),
                "n": (
                    "INT",
                    {"default": 0, "min": 0, "max": 4096, "tooltip": "0: the method's usual N"},
                ),
                "best": (
                    "INT",
                    {"default": 1, "min": 1, "max": 64, "tooltip": "Images to keep of the search"},
                ),
            },
            "optional": {
                "negative": ("STRING", {"default": "", "multiline": True}),
                "aspect": (ASPECTS, {"default": "1:1"}),
                "previews": (
                    "BOOLEAN",
                    {"default": True, "tooltip": "Decode all candidates after every scale"},
                ),
                "plan": ("TTSVAR_PLAN",),
                "class_name": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "For models that generate classes (VAR, flexar-1b-class), in "
                        "place of the prompt: a number, a name or the first words of one",
                    },
                ),
            },
        }

    def search(
        self,
        model,
        prompt,
        seed,
        method,
        n,
        best,
        negative="",
        aspect="1:1",
        previews=True,
        plan=None,
        class_name="",
    ):
        options = dict(plan or {})
        if "plan" not in options:
            options["method"] = method
            if n and "budget" not in options:
                options["n"] = n
        if negative.strip():
            options["negative"] = negative
        if aspect != "1:1":
            options["aspect"] = aspect
        if class_name.strip():
            options["class"] = class_name.strip()
            prompt = None
        search = Search(prompt, seed, options, best, previews)
        found = model.search(search, host.Progress())
        images = host.to_images(found.images)
        return (images, host.to_images([found.tree]), json.dumps(found.trace))


NODE_CLASS_MAPPINGS = {
    "TTSVARLoadModel": LoadModel,
    "TTSVARConnectServer": ConnectServer,
    "TTSVARMixScorers": MixScorers,
    "TTSVARSearchPlan": SearchPlan,
    "TTSVARSearchImage": SearchImage,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "TTSVARLoadModel": "Load VAR Model (ttsvar)",
    "TTSVARConnectServer": "Connect to ttsvar serve",
    "TTSVARMixScorers": "Mix Scorers (ttsvar)",
    "TTSVARSearchPlan": "Search Plan (ttsvar)",
    "TTSVARSearchImage": "Search Image (ttsvar)",
}
