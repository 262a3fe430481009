"""Nodes for ComfyUI: test-time scaling of visual autoregressive models, in this process or on a
`ttsvar serve`."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
