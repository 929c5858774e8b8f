"""`React`: a prompt, a model and tools; a message in, the model's answer out."""

from __future__ import annotations

from typing import ClassVar

from aixgo import Context, Message, Reply, Role
from aixgo.agents.prompt_text import model_text
from aixgo.agents.role import Style
from aixgo.config.agents import AgentSpec
from aixgo.models import ChatMessage
from aixgo.tools import Toolbox
from aixgo_services.react.acting import Acting
from aixgo_services.react.confirmation import Confirmation
from aixgo_services.react.loop import Loop
from aixgo_services.react.offer import Offer, offer_of, recorded_offer
from aixgo_services.react.options import ReactOptions
from aixgo_services.react.verification import Verifier


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
        self._prompt = [ChatMessage(role="system", content=spec.prompt)] if spec.prompt else []

    def equip(self, tools: Toolbox) -> None:
        """Take the tools.

        Raises:
            ConfigError: `require_confirmation` names one that is not among them.
        """
        super().equip(tools)
        self._confirmation = Confirmation(self.name, self._settings.confirm, tools)
        self._offer = offer_of(tools)

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Return the model's final answer.

        Its metadata says `finish_reason` and `model`; of an agent with tools also `iterations`,
        `tool_calls`, and the `limit` by which the answer was forced.

        Raises:
            InvalidPayload: the message cannot be given to a model.
            ModelError: the model did not answer.
            BadModelAnswer: at a limit it still wanted tools and gave no answer; final.
        """
        text = model_text(message)
        offer = self._offer
        if self.tools.dynamic:
            offer = await recorded_offer(ctx, self.tools)
            self._confirmation.check(offer.by_name)
        loop = Loop(
            spec=self.spec,
            options=self._settings,
            ctx=ctx,
            offer=offer,
            acting=Acting(ctx, offer, self._confirmation),
            verifier=self._verifier,
            seconds=self.spec.timeout or self.spec.limits.timeout,
        )
        answer = await loop.run([*self._prompt, ChatMessage(role="user", content=text)])
        meta: dict[str, object] = {
            "finish_reason": answer.choices[0].finish_reason,
            "model": answer.model,
        }
        if self.tools or self._verifier is not None:
            meta |= {"iterations": loop.iterations, "tool_calls": loop.acting.uses}
            if loop.limit is not None:
                meta["limit"] = loop.limit
        return Reply(answer.text, meta=meta)
