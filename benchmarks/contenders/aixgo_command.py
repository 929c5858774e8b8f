"""The real command of a deployed service with one react agent: `aixgo_command.py URL VERB`.

VERB is `provision` or `service`: what containers run, from the command line's parser on.
"""

import io
import logging
import sys
import tempfile
from pathlib import Path

from _bout import say

from aixgo.cli import main

DOCUMENT = """\
version: 2
name: bench
agents:
  - {name: assistant, role: react, model: openai/gpt-4o, prompt: "Answer briefly."}
"""


class SayReady(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "service.ready":
            say("ready")


def command(url: str, verb: str) -> None:
    logging.getLogger("aixgo").addHandler(SayReady())
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder, "agents.yaml")
        document.write_text(DOCUMENT)
        if verb == "provision":
            sys.argv[1:] = ["provision", str(document), "--broker", url]
        else:
            sys.argv[1:] = ["service", "assistant", "--file", str(document), "--broker", url]
            sys.argv += ["--health-port", "0", "--log-level", "info"]
        errors = sys.stderr
        sys.stderr = io.StringIO()  # a working service's log is of no interest
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                errors.write(sys.stderr.getvalue())
            raise


command(sys.argv[1], sys.argv[2])
