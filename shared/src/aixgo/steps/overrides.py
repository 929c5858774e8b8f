"""Forks with another prompt or model: what a model step asks in place of what it asked first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from aixgo.config.agents import AgentSpec
from aixgo.envelope import Override
from aixgo.models.bus import ModelTask
from aixgo.models.messages import ChatMessage, Content, TextPart


def in_force(overrides: Sequence[Override], run: str) -> Sequence[Override]:
    """Return the overrides that a step was executed with in a run, itself a fork or its origin."""
    runs = [override.run for override in overrides]
    return overrides[: runs.index(run) + 1] if run in runs else ()


def overridden(
    task: ModelTask, overrides: Iterable[Override], path: str, spec: AgentSpec, declared_model: str
) -> ModelTask:
    """Return the task of the model step at `path` as the overrides of its run want it.

    An override replaces what the agent declares: its model where the request names that one, its
    prompt where the system message has it, and where there is no system message. At the very step
    that the override names, it replaces the model and the whole system message.
    """
    for override in overrides:
        if override.agent != spec.name:
            continue
        here = override.step == path
        if override.model:
            task = _with_model(task, override.model, None if here else declared_model)
            declared_model = override.model
        if override.prompt and task.chat is not None:
            messages = _with_prompt(task.chat.messages, override.prompt, spec.prompt, whole=here)
            task = replace(task, chat=replace(task.chat, messages=messages))
            spec = spec.model_copy(update={"prompt": override.prompt})
    return task


def _with_model(task: ModelTask, model: str, instead_of: str | None) -> ModelTask:
    """Name another model; the address of the agent's own server is of use to its provider only."""
    request = task.request
    if instead_of is not None and request.model != instead_of:
        return task
    same = model.partition("/")[0] == request.model.partition("/")[0]
    base_url = request.base_url if same else ""
    if task.chat is not None:
        return replace(task, chat=replace(task.chat, model=model, fallbacks=(), base_url=base_url))
    if instead_of is not None:  # texts are embedded by another model than the agent's
        return task
    return replace(task, embed=replace(request, model=model, base_url=base_url))


def _with_prompt(
    messages: tuple[ChatMessage, ...], prompt: str, declared: str, *, whole: bool
) -> tuple[ChatMessage, ...]:
    first = messages[0] if messages and messages[0].role == "system" else None
    if first is None:
        if declared and not whole:  # the handler leaves its prompt out on purpose
            return messages
        return (ChatMessage(role="system", content=prompt), *messages)
    if whole:
        return (replace(first, content=prompt), *messages[1:])
    if declared:
        return (replace(first, content=_replaced(first.content, declared, prompt)), *messages[1:])
    return messages


def _replaced(content: Content, declared: str, prompt: str) -> Content:
    """Return the content with another prompt where the declared one is, in the text or a part."""
    if isinstance(content, str):
        return content.replace(declared, prompt, 1)
    parts = list(content)
    for position, part in enumerate(parts):
        if isinstance(part, TextPart) and declared in part.text:
            parts[position] = replace(part, text=part.text.replace(declared, prompt, 1))
            break
    return tuple(parts)
