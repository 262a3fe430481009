"""Loads the node pack as ComfyUI does, with fakes of what is not installed."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

PACK = Path(__file__).resolve().parents[1]


class Interrupted(Exception):
    """What ComfyUI raises when the user stops a workflow."""


class ProgressBar:
    """ComfyUI's progress bar, which remembers what it showed."""

    shown: list[tuple[int, int, object]] = []

    def __init__(self, total, node_id=None):
        self.total = total

    def update_absolute(self, value, total=None, preview=None):
        ProgressBar.shown.append((value, total or self.total, preview))


def fake(name: str, **members: object) -> types.ModuleType:
    """A module under this name, unless there is a real one."""
    try:
        return importlib.import_module(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
        return module


@pytest.fixture(scope="session", autouse=True)
def comfy():
    """ComfyUI's modules and torch, or fakes of them."""
    fake("torch", from_numpy=np.asarray, Tensor=np.ndarray)
    package = fake("comfy")
    package.utils = fake("comfy.utils", ProgressBar=ProgressBar)
    package.model_management = fake(
        "comfy.model_management", throw_exception_if_processing_interrupted=lambda: None
    )
    return package


@pytest.fixture(scope="session")
def pack(comfy):
    """The node pack, loaded by the path of its folder, as ComfyUI loads custom nodes."""
    name = str(PACK).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, PACK / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shown(comfy):
    """What progress bars showed."""
    ProgressBar.shown.clear()
    return ProgressBar.shown


@pytest.fixture
def workflow():
    """The example workflow in ComfyUI's API format."""
    return json.loads((PACK / "example_workflows/ttsvar_demo_api.json").read_text())
