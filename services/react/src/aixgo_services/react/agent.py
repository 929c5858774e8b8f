"""`React`: a prompt and a model; a message in, the model's answer out."""

from __future__ import annotations

from typing import ClassVar

from aixgo import Context, Message, Reply, Role
from aixgo.agents.prompt_text import model_text
from aixgo.agents.role import Style
from aixgo.config.agents import AgentSpec, Options


class ReactOptions(Options):
    """What a react agent takes besides `model`, `prompt`, `temperature` and `max_tokens`."""

    stream: bool = True
    """Publish the answer's tokens while the model writes them; the result is the same."""


class React(Role):
    """Answers calls and the events of its `inputs` with its model."""

    style: ClassVar[Style] = "hybrid"
    options_model = ReactOptions
    calls_models = True

    def __init__(self, spec: AgentSpec, options: ReactOptions) -> None:
        super().__init__(spec, options)
        self._stream = options.stream

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Return the model's answer, with `finish_reason` and `model` as metadata.

        Raises:
            InvalidPayload: the message cannot be given to a model.
            ModelError: the model did not answer.
        """
        answer = await ctx.model.chat(model_text(message), stream=self._stream)
        return Reply(
            answer.text,
            meta={"finish_reason": answer.choices[0].finish_reason, "model": answer.model},
        )
