"""Searches on a `ttsvar serve`, over HTTP with the standard library."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import PIL.Image

from .backend import Found, Search, Watcher, steps

ANSWER = 60
"""Seconds to wait for an answer, and between two events of a search. The server sends comments in
between."""

ENDED = ("done", "failed", "cancelled", "interrupted")

COMMENT = "comment"
"""The name under which `Server.events` passes on comments."""


class Server:
    """A model on a server."""

    def __init__(self, address: str, token: str | None) -> None:
        self.address = address.rstrip("/")
        self.token = token

    @classmethod
    def connect(cls, address: str, token_variable: str) -> Server:
        """A server that answers."""
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise ValueError(f"expected an address such as http://127.0.0.1:8080, found {address!r}")
        server = cls(address, os.environ.get(token_variable))
        server.get_json("/v1/models")
        return server

    def search(self, search: Search, watcher: Watcher) -> Found:
        """Searches for the best images."""
        request = {
            "prompt": search.prompt,
            "seed": search.seed,
            "n": search.best,
            "search": {**search.options, "share": True},
            "previews": search.previews,
        }
        job = json.loads(self.request("POST", "/v1/jobs", request))
        path = f"/v1/jobs/{urllib.parse.quote(job['id'])}"
        try:
            sheets, (state, ended) = self.follow(path, search.previews, watcher)
        except BaseException:
            # What ended the search here is the error to report
            with contextlib.suppress(Exception):
                self.request("POST", f"{path}/cancel", {})
            raise
        if state != "done":
            raise RuntimeError(
                f"the search on {self.address} ended: {ended.get('error') or state}"
            )
        watcher.end()
        trace = self.get_json(f"{path}/trace")
        # A search that stops early may have finished fewer.
        count = min(search.best, len(trace["finals"]))
        images = [self.image(f"{path}/images/{rank}") for rank in range(1, count + 1)]
        return Found(images, tree([*sheets, images[0]]), trace)

    def follow(
        self, path: str, previews: bool, watcher: Watcher
    ) -> tuple[list[PIL.Image.Image], tuple[str, dict[str, Any]]]:
        """Follows a job to its end. Returns the contact sheet of each scale, and the last event.
        Raises what the watcher raises if the user wants the search to end."""
        sheets: list[PIL.Image.Image] = []
        for name, data in self.events(f"{path}/events"):
            if name in ENDED:
                return sheets, (name, data)
            watcher.check()
            if name == "started":
                watcher.begin(steps(data))
            elif name == "candidates" and not previews:
                watcher.advance(None)
            elif name == "previews":
                sheets.append(self.image(data["url"]))
                watcher.advance(sheets[-1])
        raise RuntimeError(f"{self.address} stopped sending events before the search ended")

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of a job, with their data. Comments, which come while nothing happens, are events
        without data."""
        with self.open("GET", path, None) as answer:
            name, data = "message", ""
            for line in self.lines(answer):
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "event":
                    name = value
                elif field == "data":
                    data += value
                elif line.startswith(":"):
                    yield COMMENT, {}
                elif line == "" and data:
                    yield name, json.loads(data)
                    name, data = "message", ""

    def lines(self, answer: Any) -> Iterator[str]:
        """The lines of an answer. Raises RuntimeError if the connection breaks."""
        try:
            for line in answer:
                yield line.decode().rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeError(f"the connection to {self.address} broke: {error}") from error

    def image(self, path: str) -> PIL.Image.Image:
        """An image of the server."""
        return PIL.Image.open(io.BytesIO(self.request("GET", path, None))).convert("RGB")

    def get_json(self, path: str) -> Any:
        """The answer to a request, read as JSON."""
        return json.loads(self.request("GET", path, None))

    def request(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        """The answer to a request."""
        with self.open(method, path, body) as answer:
            content: bytes = answer.read()
            return content

    def open(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """Sends a request. Raises RuntimeError with the server's words if it refuses."""
        address = urllib.parse.urljoin(f"{self.address}/", path.removeprefix("/"))
        request = urllib.request.Request(address, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            return urllib.request.urlopen(request, timeout=ANSWER)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{self.address} refused {path}: {_message(error)}") from error
        except urllib.error.URLError as error:
            raise RuntimeError(f"{self.address} does not answer: {error.reason}") from error


def _message(error: urllib.error.HTTPError) -> str:
    """What a server says in the body of an error."""
    try:
        message: str = json.loads(error.read())["error"]["message"]
        return message
    except (ValueError, KeyError, TypeError):
        return str(error)


def tree(rows: list[PIL.Image.Image]) -> PIL.Image.Image:
    """The search as an image: the contact sheets of its scales and the winner, one below the
    other."""
    width = max(row.width for row in rows)
    picture = PIL.Image.new("RGB", (width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height
    return picture
