"""`React`: a prompt, a model and tools; a message in, the model's answer out."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from aixgo import Context, Message, Reply, Role
from aixgo.agents.prompt_text import model_text
from aixgo.agents.role import Style
from aixgo.config.agents import AgentSpec
from aixgo.models import ChatMessage
from aixgo.payloads import to_payload
from aixgo.steps.answers import AnswerShape
from aixgo.tools import Toolbox
from aixgo_services.react.acting import Acting
from aixgo_services.react.confirmation import Confirmation
from aixgo_services.react.loop import Loop
from aixgo_services.react.offer import Offer, offer_of, recorded_offer
from aixgo_services.react.options import ReactOptions
from aixgo_services.react.verification import Verifier
from aixgo_services.react.window import Window

_FORM = (
    "Your final answer, once you need no more tools, is JSON and nothing else: no explanation, no "
    "code fence. It must satisfy this JSON schema:\n"
)


class React(Role):
    """Answers calls and the events of its `inputs` with its model, which may use the tools."""

    style: ClassVar[Style] = "hybrid"
    options_model = ReactOptions
    calls_models = True
    takes_tools = True

    def __init__(self, spec: AgentSpec, options: ReactOptions) -> None:
        super().__init__(spec, options)
        guided = options.guided_config
        self._settings = options
        self._verifier = Verifier(guided.verification_prompt) if guided.enabled else None
        self._confirmation = Confirmation(spec.name, False, self.tools)
        self._offer = Offer()
        self._shape: AnswerShape | None = options.output

    def equip(self, tools: Toolbox) -> None:
        """Take the tools.

        Raises:
            ConfigError: `require_confirmation` names one that is not among them.
        """
        super().equip(tools)
        self._confirmation = Confirmation(self.name, self._settings.confirm, tools)
        self._offer = offer_of(tools)

    def output_schema(self) -> dict[str, Any]:
        """See `Role.output_schema`."""
        return {} if self._shape is None else self._shape.schema

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Return the model's final answer: a text, or what `output` declares.

        In a session it is an answer to what was said before as well.

        Its metadata says `finish_reason` and `model`; of an agent with tools also `iterations`,
        `tool_calls`, and the `limit` by which the answer was forced.

        Raises:
            InvalidPayload: the message cannot be given to a model.
            ModelError: the model did not answer.
            BadModelAnswer: at a limit it still wanted tools and gave no answer, or none of its
                answers fits `output`; final.
        """
        text = model_text(message)
        offer = self._offer
        if self.tools.dynamic:
            offer = await recorded_offer(ctx, self.tools)
            self._confirmation.check(offer.by_name)
        shape = self._shape
        free = shape is not None and not offer.definitions and self._verifier is None
        said, session = ChatMessage(role="user", content=text), ctx.session
        context = self._settings.context
        before = await session.history(
            summarised=context.strategy == "summarise", pinned=context.pinned
        )
        messages = [*self._system(told=not free), *before, said]
        loop = Loop(
            spec=self.spec,
            options=self._settings,
            ctx=ctx,
            offer=offer,
            acting=Acting(ctx, offer, self._confirmation),
            verifier=self._verifier,
            seconds=self.spec.timeout or self.spec.limits.timeout,
            window=Window(ctx, context, offer, session, len(messages) - 1),
            response=shape.response if shape is not None and free else None,
        )
        answer = await loop.run(messages)
        meta: dict[str, object] = {
            "finish_reason": answer.choices[0].finish_reason,
            "model": answer.model,
        }
        if self.tools or self._verifier is not None:
            meta |= {"iterations": loop.iterations, "tool_calls": loop.acting.uses}
            if loop.limit is not None:
                meta["limit"] = loop.limit
        value: Any = answer.text
        if shape is not None:
            value = await ctx.model.mend(
                loop.sent,
                answer,
                output=shape,
                key="answer",
                max_retries=self._settings.max_retries,
                tools=offer.definitions,
                tool_choice="none" if offer.definitions else "",
                stream=self._settings.stream,
            )
        given = value if isinstance(value, str) else bytes(to_payload(value)).decode()
        await session.append(said, ChatMessage(role="assistant", content=given))
        return Reply(value, meta=meta)

    def _system(self, *, told: bool) -> list[ChatMessage]:
        """Return the agent's prompt, and what its answer must be if the request does not say it."""
        texts = [self.spec.prompt] if self.spec.prompt else []
        if self._shape is not None and told:
            texts.append(_FORM + msgspec.json.encode(self._shape.response.schema).decode())
        return [ChatMessage(role="system", content="\n\n".join(texts))] if texts else []
