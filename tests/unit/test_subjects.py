"""Subjects: token rules, step tokens that never collide, namespaces that never meet."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.errors import BadSubject
from aixgo.subjects import ROOT_STEP, STREAMS, Names, step_token, token

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,32}")
tokens = st.from_regex(LEGAL, fullmatch=True)
segments = st.from_regex(r"[A-Za-z0-9-]{1,6}", fullmatch=True)
steps = (
    st.lists(segments, max_size=6).map("/".join)
    | tokens
    | st.text(alphabet="/_-ab", max_size=40)
    | st.text(max_size=60)
)


@given(tokens)
def test_a_legal_token_is_returned_as_it_is(value: str) -> None:
    assert token(value) == value


@pytest.mark.parametrize(
    "value", ["", "a.b", "a b", "*", ">", "a" * 33, "ä", "a\n", "a/b", "a\r\nPUB x", "$JS"]
)
def test_an_illegal_token_is_refused_with_the_rule(value: str) -> None:
    with pytest.raises(BadSubject, match="1 to 32 characters") as caught:
        token(value, "agent")
    assert f"agent {value!r}" in str(caught.value)


@given(steps)
def test_a_step_token_is_always_a_legal_token(path: str) -> None:
    assert LEGAL.fullmatch(step_token(path))


@given(steps, steps)
def test_different_steps_have_different_tokens(one: str, two: str) -> None:
    assert (step_token(one) == step_token(two)) == (one == two)


@given(st.lists(segments, min_size=2, max_size=4).map("/".join).filter(lambda p: len(p) <= 32))
def test_a_short_path_stays_readable(path: str) -> None:
    assert step_token(path) == path.replace("/", "_")


@pytest.mark.parametrize(
    ("one", "two"),
    [("", ROOT_STEP), ("a/b", "a_b"), ("a/b", "_a_b"), ("a/b_c", "a_b/c"), ("a//b", "a/_b")],
)
def test_paths_that_look_alike_differ(one: str, two: str) -> None:
    assert step_token(one) != step_token(two)


@given(steps)
def test_a_digest_is_not_the_token_of_another_path(path: str) -> None:
    assert step_token(step_token(path)) != step_token(path)


def subjects_of(names: Names, agent: str, run: str, step: str) -> list[str]:
    return [
        names.call(agent, run, step),
        names.result(agent, run, step),
        names.live_result(agent, run, step),
        names.history(run),
        names.live_history(run),
        names.tokens(agent, run, step),
        names.event(agent),
        names.timer(agent, run, step),
        names.wake(agent, run, step),
        names.dead_letter("CALLS", names.call(agent, run, step)),
        names.rpc(agent, "execute"),
        names.cancel(run),
    ]


@given(tokens, tokens, tokens, steps)
def test_every_subject_is_one_that_the_broker_takes(
    namespace: str, agent: str, run: str, step: str
) -> None:
    names = Names(namespace)
    for subject in subjects_of(names, agent, run, step):
        assert subject.startswith(names.prefix)
        assert all(LEGAL.fullmatch(part) for part in subject.split("."))


@given(tokens, tokens, tokens, tokens, steps)
def test_namespaces_never_meet(one: str, two: str, agent: str, run: str, step: str) -> None:
    mine = subjects_of(Names(one), agent, run, step)
    yours = subjects_of(Names(two), agent, run, step)
    assert (set(mine) & set(yours) == set()) == (one != two)
    if one != two:
        assert not any(subject.startswith(Names(two).prefix) for subject in mine)


@given(tokens, tokens, steps)
def test_the_subjects_of_a_namespace_differ(agent: str, run: str, step: str) -> None:
    made = subjects_of(Names(), agent, run, step)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("namespace", ["", "a.b", "*", "a" * 33])
def test_a_namespace_is_a_token(namespace: str) -> None:
    with pytest.raises(BadSubject, match="namespace"):
        Names(namespace)


def test_the_agent_comes_after_the_verb_so_that_filters_fall_out() -> None:
    names = Names("prod")
    assert names.call("critic", "r1", "review/2/critic") == (
        "aixgo.prod.call.critic.r1.review_2_critic"
    )
    assert names.calls_of("critic") == "aixgo.prod.call.critic.>"
    assert names.results_of("r1") == "aixgo.prod.res.*.r1.>"
    assert names.wakes_of("critic") == "aixgo.prod.wake.critic.>"


def test_an_agent_cannot_smuggle_a_wildcard_into_a_subject() -> None:
    names = Names()
    for build in (names.calls_of, names.event, names.wakes_of):
        with pytest.raises(BadSubject):
            build("*")
    with pytest.raises(BadSubject):
        names.call("critic.>", "r1", "")


@pytest.mark.parametrize("run", ["*", ">", "a.b", "", "a b", "a" * 33])
def test_a_run_cannot_smuggle_a_wildcard_into_a_subject(run: str) -> None:
    names = Names()
    for build in (names.history, names.live_history, names.cancel):
        with pytest.raises(BadSubject):
            build(run)


@given(tokens, tokens, steps, steps)
def test_a_step_id_is_unique_in_its_stream(agent: str, run: str, one: str, two: str) -> None:
    names = Names()
    assert (names.step_id(agent, run, one) == names.step_id(agent, run, two)) == (one == two)


@pytest.mark.parametrize(
    "rest", ["r" * 3_000, "r" * 250, "a..b", "a*", ">", "a b", "a\x7f", "\xe9", "", "x."]
)
def test_a_dead_letter_of_a_foreign_subject_has_one_of_ours(rest: str) -> None:
    names = Names("prod")
    subject = names.dead_letter("CALLS", f"aixgo.prod.call.critic.{rest}")
    assert re.fullmatch(r"aixgo\.prod\.dlq\.CALLS\.call\._[0-9a-f]{30}", subject)
    assert subject != names.dead_letter("CALLS", f"aixgo.prod.call.critic.{rest}x")


def test_a_dead_letter_keeps_the_stream_and_the_original_subject() -> None:
    names = Names("prod")
    call = names.call("critic", "r1", "")
    assert names.dead_letter("CALLS", call) == "aixgo.prod.dlq.CALLS.call.critic.r1.root"


def test_stream_and_bucket_names_are_per_namespace() -> None:
    one, two = Names("one"), Names("two")
    assert {one.stream(short) for short in STREAMS}.isdisjoint(two.stream(s) for s in STREAMS)
    assert one.bucket("presence") != two.bucket("presence")


@given(tokens, tokens, steps)
def test_the_subjects_of_a_step_can_be_read_again(agent: str, run: str, step: str) -> None:
    names = Names("space")
    built = {
        "call": names.call(agent, run, step),
        "res": names.result(agent, run, step),
        "live.res": names.live_result(agent, run, step),
        "run": names.accepted(agent, run, step),
        "tok": names.tokens(agent, run, step),
        "timer": names.timer(agent, run, step),
        "wake": names.wake(agent, run, step),
    }
    for verb, subject in built.items():
        assert names.parse(subject) == (verb, agent, run, step_token(step))
        assert Names("elsewhere").parse(subject) is None


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "aixgo.default.timer.echo",
        "aixgo.default.call.a.r.s.t",
        "aixgo.default.call.a.*.root",
        "aixgo.default.call.a.r.",
        "aixgo.default.hist.r",
        "aixgo.default.dlq.CALLS.call.a.r.root",
        "aixgo.default.call.a.r.root\n",
        "call.a.r.root",
    ],
)
def test_a_subject_that_is_not_about_a_step_has_no_parts(subject: str) -> None:
    assert Names().parse(subject) is None
