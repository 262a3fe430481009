"""Progress bars: those of tqdm if it is installed, otherwise a line of text on standard error."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

WIDTH = 30
"""The characters of a bar of text."""

PAUSE = 0.1
"""The least time in seconds between two lines of text."""


def in_notebook() -> bool:
    """Whether IPython runs this program."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


class Bar:
    """A bar of `total` steps, or a count of steps if it is not known how many there are."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self._label = label
        self._total = total
        self._unit = unit
        self._done = 0
        self._note = ""
        self._written = 0.0
        self._tqdm: Any = _tqdm()
        if self._tqdm is not None:
            scaled = unit == "B"
            self._tqdm = self._tqdm(total=total, desc=label, unit=unit, unit_scale=scaled)

    def set(self, done: int, note: str = "") -> None:
        """Shows that `done` of the steps are done."""
        if self._tqdm is not None:
            self._tqdm.set_postfix_str(note, refresh=False)
            self._tqdm.update(done - self._done)
        self._done = done
        self._note = note
        if self._tqdm is None and time.monotonic() - self._written >= PAUSE:
            self._write("\r")

    def close(self) -> None:
        """Ends the bar."""
        if self._tqdm is not None:
            self._tqdm.close()
        else:
            self._write("\r", end="\n")

    def _write(self, start: str, end: str = "") -> None:
        self._written = time.monotonic()
        line = f"{self._label} {self._count()} {self._note}"
        sys.stderr.write(f"{start}{line:<79}{end}")
        sys.stderr.flush()


    def _count(self) -> str:
        if not self._total:
            return f"{self._done} {self._unit}s"
        part = min(self._done / self._total, 1.0)
        full = round(part * WIDTH)
        bar = "#" * full + "." * (WIDTH - full)
        return f"[{bar}] {part:4.0%}"


class SearchProgress:
    """A listener that shows a search as a bar. A step is a scale of a round."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._steps = 0
        self._total: int | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        name = event["event"]
        if name == "started":
            if event.get("budget") is None:
                self._total = len(event["scales"]) * int(event["plan"].get("rounds", 1))
            self._bar = Bar("search", self._total, "scale")
        elif name == "candidates" and self._bar is not None:
            self._steps += 1
            if self._total is not None:
                self._steps = min(self._steps, self._total)  # resumed candidates come on top
            self._bar.set(self._steps, f"scale {event['scale']}, candidates {event['rows']}")
        elif name == "winner" and self._bar is not None:
            self._bar.set(self._total or self._steps, "done")

    def close(self) -> None:
        """Ends the bar, also after an error."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class DownloadProgress:
    """Shows downloads, one bar per file."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._file = ""

    def __call__(self, file: str, done: int, total: int) -> None:
        if file != self._file:
            self.close()
            self._file = file
            self._bar = Bar(file, total, "B")
        if self._bar is not None:
            self._bar.set(done)

    def close(self) -> None:
        """Ends the bar of the last file."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _tqdm() -> Any:
    """The bar of tqdm that suits this terminal or notebook, or `None` without tqdm."""
    try:
        return importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return None
