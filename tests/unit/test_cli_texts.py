"""What the command line says of usage, errors and inputs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.cli._data import LineDecoder
from aixgo.cli._failures import exit_code_of
from aixgo.cli._live import LiveSteps
from aixgo.cli._question_texts import answer_in
from aixgo.cli._terminal import note, one_line, write, write_json
from aixgo.cli._texts import cost, looked_at, tokens
from aixgo.envelope import NO_USAGE, Usage
from aixgo.errors import ConfigError, InvalidPayload, Unreachable
from aixgo.printable import printable, printable_json
from aixgo.runs.watch import StepFinished, StepStarted, TokensArrived


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


@pytest.mark.parametrize(
    ("meta", "shown"),
    [
        ({}, []),
        (
            {"refused": {"reason": "no", "hook": "size", "point": "before_agent"}},
            ["refused (size before agent)"],
        ),
        ({"refused": {"reason": "no", "hook": "", "point": ""}}, ["refused"]),
        ({"notes": ["odd", "long"]}, ["noted: odd; long"]),
        ({"refused": "yes", "notes": "all"}, []),
    ],
)
def test_what_hooks_said_of_a_result_is_shown(meta: dict[str, object], shown: list[str]) -> None:
    assert looked_at(meta) == shown


@given(st.text())
def test_cleaned_text_holds_nothing_that_steers_a_terminal(text: str) -> None:
    assert not any(
        (character < " " and character not in "\n\t") or "\x7f" <= character <= "\x9f"
        for character in printable(text)
    )


@given(st.text())
def test_json_that_is_made_printable_means_the_same_and_steers_nothing(text: str) -> None:
    shown = printable_json(json.dumps({"text": text}, ensure_ascii=False))

    assert json.loads(shown) == {"text": text}
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red \x1b[31malert\x07", "red \\x1b[31malert\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("one\r\ntwo\tthree\rfour", "one\ntwo\tthree\\x0dfour"),
    ],
)
def test_what_could_steer_a_terminal_is_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_everything_that_is_written_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    write("a\x9bb")
    write_json({"a": "\u202e\x9b"})
    note("c\x1bd")
    out, err = capsys.readouterr()

    assert out == 'a\\x9bb\n{"a":"\\u202e\\u009b"}\n'
    assert err == "c\\x1bd\n"


@given(st.text(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.data())
def test_lines_are_the_same_however_their_bytes_are_cut(
    text: str, encoding: str, data: st.DataObject
) -> None:
    text = text.removeprefix("\ufeff").removesuffix("\n")
    rest, decoder, lines = text.encode(encoding), LineDecoder("stdin"), list[str]()
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        lines += decoder.feed(rest[:size])
        rest = rest[size:]
    lines += decoder.feed(b"", final=True)

    assert "\n".join(lines) == text


def test_bytes_that_are_not_text_are_named_after_what_came_before() -> None:
    decoder = LineDecoder("stdin")
    assert list(decoder.feed(b"\xef\xbb\xbfon")) == []
    assert list(decoder.feed(b"e\nx")) == ["one"]
    with pytest.raises(ConfigError, match="stdin is not UTF-8 text: byte 0xe9 at offset 8;"):
        list(decoder.feed(b"\xe9y"))


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("done", "done"),
        ("NOT DONE", "not done"),
        ("d", "done"),
        ('{"done": 12}', {"done": 12}),
    ],
)
def test_an_answer_may_be_typed_shorter_and_say_more(typed: str, answer: object) -> None:
    assert answer_in(typed, ("done", "not done")) == answer


@pytest.mark.parametrize("typed", ["", "x", '{"x": 1}', "{"])
def test_what_is_typed_beside_the_options_is_refused_with_them(typed: str) -> None:
    with pytest.raises(InvalidPayload, match=r'choose: done \| not done \| {"done": VALUE}'):
        answer_in(typed, ("done", "not done"))


def test_a_run_waits_for_the_last_of_its_agents_that_works() -> None:
    steps = LiveSteps("front")
    assert steps.waiting().agent == "front"
    steps.apply(started("desk/1", "desk"))
    steps.apply(started("desk/1/clerk/1", "clerk"))
    assert steps.waiting().agent == "clerk"
    steps.apply(finished("desk/1/clerk/1", "clerk"))
    assert steps.waiting().agent == "desk"
    steps.ask("desk/1/ask/1", "publish?")
    assert steps.waiting().questions == {"desk/1/ask/1": "publish?"}
    steps.apply(finished("desk/1/ask/1", "desk"))
    assert steps.waiting().questions == {}


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
