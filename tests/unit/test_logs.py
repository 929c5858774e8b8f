"""Log lines: JSON for machines, one readable line for people."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from aixgo.errors import ConfigError, ModelTimeout
from aixgo.telemetry import logs


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Put the loggers back."""
    named = [logging.getLogger(name) for name in ("", "aixgo", "aixgo_services")]
    handlers, levels = named[0].handlers[:], [logger.level for logger in named]
    yield
    named[0].handlers[:] = handlers
    for logger, level in zip(named, levels, strict=True):
        logger.setLevel(level)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_a_json_object_with_its_facts_in_order() -> None:
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    logging.getLogger("aixgo.x").info(
        "agent.%s", "started", extra={"count": 2, "step": "", "run": "r", "agent": "a"}
    )

    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "logger", "message", "agent", "run", "count"]
    assert (line["level"], line["logger"], line["message"]) == ("info", "aixgo.x", "agent.started")
    assert line["timestamp"].endswith("+00:00")


def test_an_error_carries_type_text_and_stack() -> None:
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    try:
        raise ValueError("no luck")
    except ValueError:
        logging.getLogger("aixgo").exception("went.wrong")

    error = lines(stream)[0]["error"]
    assert (error["type"], error["message"]) == ("ValueError", "no luck")
    assert "Traceback" in error["stack"]


def test_what_is_no_json_is_shown_as_it_is_written_in_python() -> None:
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    logging.getLogger("aixgo").info("x", extra={"thing": {1, 2}, "odd": object})

    assert lines(stream)[0]["odd"] == "<class 'object'>"


def test_libraries_speak_from_warning_on_and_ours_from_the_chosen_level() -> None:
    stream = io.StringIO()
    logs.configure("debug", stream=stream)
    logging.getLogger("some.library").debug("all of it")
    logs.configure("info", stream=stream)
    for name in ("some.library", "aixgo.x"):
        logging.getLogger(name).debug("quiet")
        logging.getLogger(name).info("normal")
        logging.getLogger(name).warning("loud")

    assert [(line["logger"], line["message"]) for line in lines(stream)] == [
        ("some.library", "all of it"),
        ("some.library", "loud"),
        ("aixgo.x", "normal"),
        ("aixgo.x", "loud"),
    ]


def test_a_terminal_gets_readable_lines_in_colour() -> None:
    stream = Terminal()
    logs.configure("info", stream=stream)
    logging.getLogger("aixgo").info(
        "agent.started", extra={"run": "r1", "trace_id": "r1", "says": "two words"}
    )

    line = stream.getvalue()
    assert line.endswith('agent.started run=r1 says="two words"\n')
    assert "\x1b[32minfo" in line


def test_errors_of_ours_are_one_line_for_people_and_bugs_have_a_traceback() -> None:
    stream = io.StringIO()
    logs.configure("info", "human", stream)
    for error in (ModelTimeout("too slow"), ZeroDivisionError("bug")):
        logging.getLogger("aixgo").error("failed", exc_info=error)

    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("failed: ModelTimeout: too slow")
    assert rest[-1] == "ZeroDivisionError: bug"


@pytest.mark.parametrize("form", ["json", "human"])
def test_a_line_has_a_bound_whatever_is_in_an_error(form: Any) -> None:
    huge = "x" * 10_000_000
    for error in (ValueError(huge), ModelTimeout(huge)):
        stream = io.StringIO()
        logs.configure("info", form, stream)
        try:
            raise error
        except Exception:
            logging.getLogger("aixgo").exception("went.wrong", extra={"subject": huge})
        line = stream.getvalue()
        assert len(line) < 4 * logs.MOST_CHARACTERS
        assert "9,992,000 characters more" in line
        assert "went.wrong" in line


def test_a_long_traceback_keeps_its_end() -> None:
    def deeper(n: int, error: Exception) -> None:
        try:
            raise error
        except Exception as cause:
            if n:
                deeper(n - 1, ValueError(f"cause {n}"))
            raise RuntimeError("the last word") from cause

    stream = io.StringIO()
    logs.configure("info", stream=stream)
    try:
        deeper(100, ValueError("the first"))
    except RuntimeError:
        logging.getLogger("aixgo").exception("went.wrong")
    stack = lines(stream)[0]["error"]["stack"]
    assert len(stack) < logs.MOST_CHARACTERS + 100
    assert "characters before" in stack
    assert stack.rstrip().endswith("RuntimeError: the last word")


def test_the_trace_of_the_current_span_is_in_the_line() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    stream = io.StringIO()
    logs.configure("info", stream=stream)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("work") as span:
        logging.getLogger("aixgo").info("inside")

    assert lines(stream)[0]["trace_id"] == f"{span.get_span_context().trace_id:032x}"


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="use one of debug, info, warning, error"):
        logs.configure("loud")


def test_the_facts_of_a_line_and_of_its_logger_are_both_in_it() -> None:
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    logger = logs.FactsLogger(logging.getLogger("aixgo.x"), {"agent": "a", "run": "r"})
    logger.info("priced", extra={"amount": 3, "run": "another"})
    logger.info("plain")

    first, second = lines(stream)
    assert (first["agent"], first["run"], first["amount"]) == ("a", "r", 3)
    assert (second["agent"], second["run"]) == ("a", "r")
