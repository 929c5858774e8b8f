"""What the command line says of usage, errors and inputs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.cli._failures import exit_code_of
from aixgo.cli._live import LiveSteps
from aixgo.cli._terminal import one_line
from aixgo.cli._texts import cost, tokens
from aixgo.envelope import NO_USAGE, Usage
from aixgo.errors import ConfigError, Unreachable
from aixgo.runs.watch import StepFinished, StepStarted, TokensArrived
from aixgo.telemetry.printable import printable


@pytest.mark.parametrize(
    ("usage", "shown"),
    [
        (Usage(), "$0"),
        (Usage(cost_usd=0.000123), "$0.00012"),
        (Usage(cost_usd=0.5), "$0.5"),
        (Usage(cost_usd=1234.567), "$1,234.57"),
        (Usage(cost_usd=1.0, unpriced_calls=1), "unknown"),
        (Usage(unpriced_calls=1), "unknown"),
    ],
)
def test_a_cost_is_nothing_only_when_that_is_known(usage: Usage, shown: str) -> None:
    assert cost(usage) == shown


def test_tokens_are_counted_in_words() -> None:
    assert tokens(Usage(prompt_tokens=1)) == "1 token"
    assert tokens(Usage(prompt_tokens=1000, completion_tokens=234)) == "1,234 tokens"


@given(st.text())
def test_cleaned_text_holds_nothing_that_steers_a_terminal(text: str) -> None:
    assert not any(
        (character < " " and character not in "\n\t") or "\x7f" <= character <= "\x9f"
        for character in printable(text)
    )


@given(st.text())
def test_one_line_is_one_line_of_at_most_its_width(text: str) -> None:
    line = one_line(text, 20)

    assert len(line) <= 20
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError("bad key"), 2, "bad key\n"),
        (Unreachable("nobody there"), 1, "nobody there\n"),
        (ExceptionGroup("x", [ConfigError("a"), Unreachable("b"), ConfigError("a")]), 2, "a\nb\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_said_in_their_own_words_with_their_exit_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(error) == code
    assert capsys.readouterr().err == words


def test_a_bug_asks_for_a_report_instead_of_showing_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIXGO_DEBUG", raising=False)

    assert exit_code_of(ZeroDivisionError("division by zero")) == 1
    assert "internal error: ZeroDivisionError: division by zero; this is a bug" in (
        capsys.readouterr().err
    )


def finished(step: str, agent: str) -> StepFinished:
    return StepFinished(step=step, agent=agent, status="done", usage=NO_USAGE, meta={})


def started(step: str, agent: str) -> StepStarted:
    return StepStarted(step=step, agent=agent, caller="", depth=0)


def test_model_calls_and_their_text_belong_to_the_agent_that_makes_them() -> None:
    steps = LiveSteps("front")
    desk = steps.apply(started("desk/route", "desk"))
    assert desk is not None
    assert steps.apply(started("desk/route/model/1", "llm")) is desk
    assert desk.models == 1

    steps.apply(TokensArrived(agent="llm", step="desk/route/model/1", text="on"))
    steps.apply(TokensArrived(agent="llm", step="desk/route/model/1", text="ce"))
    assert desk.text == "once"
    steps.apply(TokensArrived(agent="llm", step="desk/route/model/1", text="anew", again=True))
    assert desk.text == "anew"

    steps.apply(finished("desk/route/model/1", "llm"))
    assert (desk.models, desk.running) == (0, True)
    assert steps.apply(finished("desk/route", "desk")) is desk
    assert not desk.running
    assert steps.root.children == [desk]


def test_recorded_values_and_repeated_events_change_nothing() -> None:
    steps = LiveSteps("front")
    assert steps.apply(finished("record/1", "front")) is None
    steps.apply(started("a/1", "a"))
    assert steps.apply(started("a/1", "a")) is None
    assert steps.apply(finished("a/1", "a")) is not None
    assert steps.apply(finished("a/1", "a")) is None
