"""`ctx.memory`: texts that an agent finds again by what they mean."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec

from aixgo.clock import now
from aixgo.errors import ConfigError, InvalidPayload
from aixgo.payloads import to_payload
from aixgo.stores.sessions.port import USER, checked
from aixgo.stores.vectors import Filter, Item
from aixgo.stores.vectors.memory import MemoryVectors
from aixgo.stores.vectors.port import EVERYTHING, Value

if TYPE_CHECKING:
    from aixgo.config.memory import MemorySpec
    from aixgo.steps.execution import Execution
    from aixgo.steps.model_steps import ModelSteps

TEXT_CHARS = 32_000
"""Longest text that is remembered: about what embedding models read of it."""

MOST_RECALLED = 100

_stores: WeakKeyDictionary[asyncio.AbstractEventLoop, MemoryVectors] = WeakKeyDictionary()


class Recalled(msgspec.Struct, frozen=True, kw_only=True):
    """A text that was found; `score` is the cosine of the embeddings, from -1 to 1."""

    id: str
    text: str
    score: float
    meta: dict[str, Value] = {}


_recalled = msgspec.json.Decoder(list[Recalled])


class MemorySteps:
    """What an agent remembers for the user of the run; every verb is a durable step.

    An agent without a user in the call's metadata remembers for all calls without one. No user's
    texts are found for another one. The memory is that of this process: it ends with it, and other
    instances of the agent do not have it.
    """

    def __init__(self, execution: Execution, model: ModelSteps, settings: MemorySpec) -> None:
        self._execution, self._model, self._settings = execution, model, settings
        user = execution.meta.get(USER)
        owner = "" if user is None else checked(user, USER)
        parts = [execution.namespace, execution.agent, owner]
        self._namespace = msgspec.json.encode(parts).decode()

    async def remember(
        self, text: str, *, meta: Mapping[str, Value] | None = None, id: str = "", key: str = ""
    ) -> str:
        """Remember a text, and return its id; the same text again stores nothing new.

        Args:
            meta: what `recall` and `forget` can filter by.
            id: instead of one that is made of the text; a text with the same id takes its place.
            key: names the step, instead of the order of use.

        Raises:
            InvalidPayload: the text is empty or over 32,000 characters.
            StoreError: the memory is full, or the embedding has another length than the others.
        """
        name = id or hashlib.sha256(_checked(text).encode()).hexdigest()[:32]
        path = self._execution.place("memory", key)
        if await self._execution.decided(path, str) is not None:
            return name
        vector = await self._embedded(path, _checked(text))
        ttl = self._settings.ttl
        item = Item(
            id=name,
            vector=vector,
            text=text,
            meta=dict(meta or {}),
            expires=0.0 if ttl is None else now() + ttl,
        )
        await _store().upsert(self._namespace, [item])
        return await self._execution.decide(path, name)

    async def recall(
        self,
        query: str,
        *,
        top_k: int = 5,
        min_score: float = 0.0,
        where: Filter = EVERYTHING,
        key: str = "",
    ) -> list[Recalled]:
        """Return the remembered texts nearest to a query, the nearest first.

        What was found is recorded: a repeated execution sees the same.

        Args:
            top_k: how many at most, 1 to 100.
            min_score: cosine from which on a text counts.
            where: which of them, by their `meta`.

        Raises:
            InvalidPayload: the query is empty or over 32,000 characters.
            ConfigError: `top_k` is out of its limits.
        """
        if not 1 <= top_k <= MOST_RECALLED:
            raise ConfigError(f"`top_k` is {top_k!r}; give 1 to {MOST_RECALLED} texts")
        path = self._execution.place("memory", key)
        body = await self._execution.kept(path)
        if body is None:
            vector = await self._embedded(path, _checked(query))
            found = await _store().search(
                self._namespace, vector, top_k=top_k, where=where, min_score=min_score
            )
            own = [
                Recalled(
                    id=one.item.id, text=one.item.text, score=one.score, meta=dict(one.item.meta)
                )
                for one in found
            ]
            body = await self._execution.keep(path, to_payload(own))
        return _recalled.decode(body)

    async def forget(self, which: Filter | Sequence[str], *, key: str = "") -> int:
        """Forget texts by their ids or their `meta`; returns how many there were."""
        path = self._execution.place("memory", key)
        standing = await self._execution.decided(path, int)
        if standing is not None:
            return standing
        gone = await _store().delete(self._namespace, which)
        return await self._execution.decide(path, gone)

    async def _embedded(self, path: str, text: str) -> tuple[float, ...]:
        """Return the embedding of a text; a step of its own below the place of this one."""
        answer = await self._model.embed_at(
            f"{path}/embed", [text], model=self._settings.embedding_model
        )
        return answer.vectors[0]


def _store() -> MemoryVectors:
    return _stores.setdefault(asyncio.get_running_loop(), MemoryVectors())


def _checked(text: str) -> str:
    if not isinstance(text, str) or not text.strip() or len(text) > TEXT_CHARS:
        size = f"has {len(text):,} characters" if isinstance(text, str) else "is none"
        raise InvalidPayload(
            f"a text for the memory {size}; give one of 1 to {TEXT_CHARS:,} characters, and split "
            "what is longer"
        )
    return text
