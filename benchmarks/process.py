"""Peers in processes of their own.

The main process of a peer imports its library and then does nothing but fork: each case gets a child that has compiled
nothing before, so that its first call is that of a fresh process, the import not counted, and a crash ends that case
alone. Where there is no fork, each case gets a new main process. Requests and replies are lines of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.peers import PEERS, UnsupportedError
from benchmarks.program import Case
from benchmarks.session import Session
from benchmarks.suite import PROGRAMS

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a request may take: an import, the first call of a case, a sample.
LONGEST = 180.0
FORKS = sys.platform == "linux"
#: What may go wrong in a peer: anything, as the others must go on.
FAILURES = (Exception,)


class PeerError(Exception):
    """A peer failed on a case; the message says how."""


class Remote:
    """A peer in another process, with the methods of ``Session``.

    ``directory`` holds its results on their way, and what it keeps on disk. ``python`` is its interpreter.
    """

    def __init__(
        self, name: str, threads: int, directory: Path, python: str | None = None, target: str = "cpu"
    ) -> None:
        self.name, self.python = name, python or sys.executable
        self.arguments = [name, str(directory / name), str(threads), target]
        self.directory = directory / name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen | None = None
        self.replies: queue.Queue[str] = queue.Queue()

    def open(self) -> float:
        """Start the main process, if it is not running; the seconds that the import took."""
        if self.process is not None:
            return 0.0
        command = [self.python, "-m", "benchmarks.process", *self.arguments]
        # What is installed has its bytecode: no peer is to be compiled by Python at each start.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with open(self.directory / "log.txt", "w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=env, start_new_session=True,
            )  # fmt: skip
        self.replies = queue.Queue()
        assert self.process.stdout is not None
        self.listener = threading.Thread(target=self._listen, args=(self.process.stdout, self.replies), daemon=True)
        self.listener.start()
        return self._reply()["seconds"]

    @staticmethod
    def _listen(stream: IO[str], replies: queue.Queue[str]) -> None:
        for line in stream:
            replies.put(line)
        replies.put("")

    def _reply(self) -> dict[str, Any]:
        try:
            line = self.replies.get(timeout=LONGEST)
        except queue.Empty:
            self.close()
            raise PeerError(f"no answer within {LONGEST:.0f} s") from None
        if not line:
            self.close()
            log = (self.directory / "log.txt").read_text().strip().splitlines()
            raise PeerError("the process ended: " + (log[-1] if log else "it said nothing"))
        reply = json.loads(line)
        if "unsupported" in reply:
            raise UnsupportedError
        if "error" in reply:
            raise PeerError(reply["error"])
        return reply

    def _ask(self, do: str, **more: Any) -> dict[str, Any]:
        self.open()
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the listener has the end of the process
        return self._reply()

    def start(self, case: Case) -> tuple[float, list[np.ndarray]]:
        """As ``Session.start``, in a new process."""
        reply = self._ask("start", program=case.program.name, dtype=case.dtype, size=case.size)
        path = self.directory / "results.npz"
        with np.load(path) as found:
            results = [found[f"arr_{k}"] for k in range(len(found.files))]
        path.unlink()
        return reply["seconds"], results

    def sample(self, count: int, wake: bool = True) -> float:
        """As ``Session.sample``."""
        return self._ask("sample", count=count, wake=wake)["seconds"]

    def growth(self) -> int | None:
        """As ``Session.growth``."""
        return self._ask("growth")["bytes"]

    def end(self) -> None:
        """End the case's process."""
        if self.process is None:
            return
        with contextlib.suppress(PeerError):
            self._ask("end")
        if not FORKS:
            self.close()

    def close(self) -> None:
        """End all processes of this peer."""
        if self.process is None:
            return
        process, self.process = self.process, None
        with contextlib.suppress(ProcessLookupError):
            if FORKS:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
        self.listener.join()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def first_line(error: BaseException, longest: int = 200) -> str:
    """An exception's name and its first line, with the next where that ends in a colon; cut where it is long."""
    lines = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines() if line.strip()]
    text = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _answer(session: Session, request: dict[str, Any], directory: Path) -> dict[str, Any]:
    """What a case's process does."""
    if request["do"] == "start":
        case = Case(PROGRAMS[request["program"]], request["dtype"], request["size"])
        seconds, results = session.start(case)
        np.savez(directory / "results.npz", *results)
        return {"seconds": seconds}
    if request["do"] == "sample":
        return {"seconds": session.sample(request["count"], request["wake"])}
    if request["do"] == "growth":
        return {"bytes": session.growth()}
    session.end()
    return {}


def _tell(out: IO[str], reply: dict[str, Any]) -> None:
    out.write(json.dumps(reply) + "\n")
    out.flush()


def _one_case(session: Session, request: dict[str, Any], directory: Path, out: IO[str]) -> None:
    """Answer requests, of which this is the first, until the case is ended."""
    while True:
        try:
            reply = _answer(session, request, directory)
        except UnsupportedError:
            reply = {"unsupported": True}
        except FAILURES as error:
            traceback.print_exc()
            reply = {"error": first_line(error)}
        _tell(out, reply)
        if request["do"] == "end":
            return  # the next line is for the main process
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)


def main(name: str, directory: Path, threads: int, target: str) -> None:
    """Import a peer and serve requests from standard input."""
    # What libraries print goes to the log, not between the replies.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    start = time.perf_counter()
    kept = directory / "kept"
    kept.mkdir(exist_ok=True)
    session = Session(PEERS[name](threads, str(kept), target))
    _tell(out, {"seconds": time.perf_counter() - start})
    while line := sys.stdin.readline():
        request = json.loads(line)
        if not FORKS:
            _one_case(session, request, directory, out)
            return
        if request["do"] != "start":  # of a case whose process has ended
            _tell(out, {"error": "the case's process is gone"} if request["do"] != "end" else {})
            continue
        child = os.fork()
        if child == 0:
            status = 1
            gc.collect()  # touches all objects: their pages are copied now, and not while the first call is timed
            try:
                _one_case(session, request, directory, out)
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != 0:
            # It may have died between two requests: an answer here could be taken for that to the next one.
            sys.exit(f"the case's process ended with status {status}")  # minus the signal that ended it


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.process", description="serves ``python -m benchmarks``")
    parser.add_argument("name")
    parser.add_argument("directory", type=Path)
    parser.add_argument("threads", type=int)
    parser.add_argument("target")
    main(**vars(parser.parse_args()))
