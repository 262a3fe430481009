#!/usr/bin/env python3
"""Attacks a built `ttsvar` as the network and the operating system do, and checks that nothing is lost.

    cargo build --release && python3 scripts/attack.py target/release/ttsvar

Kills a server under load 40 times and an evaluation 30 times, holds 2,500 idle connections, and sends
2,000 requests, right and wrong ones. Prints one line per attack and exits with 1 if one succeeds. Takes
some minutes; needs only Python.
"""
import argparse
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path


class Server:
    """A server of the demo on a free port, with its folder."""

    def __init__(self, program: str, folder: Path):
        self.program, self.folder, self.process, self.url = program, folder, None, ""

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [self.program, "serve", "-q", "--port", str(port), "--folder", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                if self.get("/healthz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the server did not start")

    def stop(self, how: int) -> None:
        self.process.send_signal(how)
        self.process.wait(timeout=60)

    def get(self, path: str, timeout: float = 20) -> tuple[int, bytes]:
        return self.send(urllib.request.Request(self.url + path), timeout)

    def post(self, path: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, data=body, headers={"Content-Type": kind})
        return self.send(request, 60)

    def send(self, request: urllib.request.Request, timeout: float) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def resident(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1000


def job(seed: int) -> bytes:
    search = {"method": "best-of-n", "n": 2}
    return json.dumps({"prompt": "a red circle", "seed": seed, "search": search}).encode()


def kill_server(program: str, times: int) -> str:
    """Every acknowledged job is still known after a kill, and every finished one has its image."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, Path(folder) / "jobs")
        known: set[str] = set()
        for round_ in range(times):
            server.start()
            check_jobs(server, known)

            def load(first: int, server: Server = server) -> None:
                for seed in range(first, first + 50):
                    try:
                        status, body = server.post("/v1/jobs", job(seed))
                    except OSError:
                        return
                    if status in (200, 201, 202):
                        known.add(json.loads(body)["id"])

            threads = [threading.Thread(target=load, args=(1000 * round_ + 100 * i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(random.uniform(0.05, 1.5))
            server.stop(signal.SIGKILL)
            for thread in threads:
                thread.join()
        server.start()
        done = check_jobs(server, known)
        left = [path for path in Path(folder).rglob(".ttsvar-*.part")]
        assert not left, f"left behind: {left}"
        server.stop(signal.SIGTERM)
        assert known, "no job was acknowledged"
        return f"{len(known)} jobs acknowledged, all known; {done} done, each with its image"


def check_jobs(server: Server, known: set[str]) -> int:
    done = 0
    for name in list(known):
        status, body = server.get(f"/v1/jobs/{name}")
        assert status == 200, f"job {name}: {status}"
        if json.loads(body)["state"] == "done":
            done += 1
            status, image = server.get(f"/v1/jobs/{name}/image")
            assert status == 200 and image.startswith(b"\x89PNG"), f"image of job {name}: {status}"
    return done


def kill_evaluation(program: str, times: int) -> str:
    """An evaluation that was killed and resumed gives the records of one that was not."""
    command = [program, "eval", "scenes", "-q", "--n", "1,2", "--prompts", "60", "--samples", "1"]
    command += ["--methods", "raw,best-of-n", "--consistency", "0"]
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        subprocess.run([*command, "--out", whole], check=True, stdout=subprocess.DEVNULL)
        kills = 0
        while True:
            resume = ["--resume"] if (killed / "setup.json").exists() else []
            process = subprocess.Popen([*command, "--out", killed, *resume], stdout=subprocess.DEVNULL)
            try:
                wait = random.uniform(0.1, 0.6) if kills < times else None
                process.wait(timeout=wait)
                assert process.returncode == 0, f"exit code {process.returncode}"
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
        assert records(whole) == records(killed), "the records differ"
        return f"{kills} kills, {len(records(whole))} records, the same as without"


def records(folder: Path) -> list[str]:
    """The records of an evaluation without the times."""
    lines = (folder / "records.jsonl").read_text().splitlines()
    drop = lambda members: {name: value for name, value in members if "seconds" not in name}
    return sorted(json.dumps(json.loads(line, object_pairs_hook=drop)) for line in lines)


def hold_connections(program: str, count: int) -> str:
    """Idle connections and half headers do not keep others out."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * count + 200), hard))
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, Path(folder) / "jobs")
        server.start()
        held, slowest = [], 0.0
        for number in range(count):
            line = socket.create_connection(server.url[7:].split(":"), timeout=10)
            if number % 2:
                line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
            held.append(line)
            if number % 250 == 249:
                began = time.monotonic()
                assert server.get("/healthz", timeout=10)[0] == 200
                slowest = max(slowest, time.monotonic() - began)
        memory = server.resident()
        server.stop(signal.SIGTERM)
        return f"/healthz answered within {slowest * 1000:.0f} ms, {memory:.0f} MB"


def send_requests(program: str, count: int) -> str:
    """Right and wrong requests: no answer of 500 or above, and memory that stays flat."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, Path(folder) / "jobs")
        server.start()
        pieces = [b"{", b"}", b"[", b"null", b"-1", b"1e999", b'"', b"\xff", b"seed", b":", b",", b" " * 99]
        valid = json.dumps({"prompt": "a blue star", "search": {"method": "raw"}}).encode()
        statuses: dict[int, int] = {}
        memory = []
        for number in range(count):
            if number % 10 == 0:
                body = valid
            else:
                body = bytearray(valid)
                for _ in range(random.randint(1, 4)):
                    at = random.randrange(len(body))
                    body[at : at + random.randint(0, 3)] = random.choice(pieces)
            path = random.choice(["/v1/images/generations", "/v1/jobs"])
            status, _ = server.post(path, bytes(body))
            statuses[status] = statuses.get(status, 0) + 1
            if number % 500 == 499:
                memory.append(server.resident())
        bad = {status: n for status, n in statuses.items() if status >= 500 and status != 503}
        assert not bad, f"answers {bad}"
        assert memory[-1] < memory[0] * 1.25 + 20, f"memory grew: {memory}"
        server.stop(signal.SIGTERM)
        shown = ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items()))
        return f"answers {shown}; memory {', '.join(f'{mb:.0f}' for mb in memory)} MB"


ATTACKS = {
    "kills of the server": (kill_server, 40),
    "kills of an evaluation": (kill_evaluation, 30),
    "idle connections": (hold_connections, 2500),
    "requests": (send_requests, 2000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    typed = parser.parse_args()
    random.seed(typed.seed)
    program = os.path.abspath(typed.program)
    failed = False
    for name, (attack, count) in ATTACKS.items():
        began = time.monotonic()
        try:
            result = attack(program, count)
        except AssertionError as error:
            failed, result = True, f"FAILED: {error}"
        print(f"{count} {name}: {result} ({time.monotonic() - began:.0f} s)", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
