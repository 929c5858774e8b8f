"""AutoGen core: `send_message` to one agent of a `SingleThreadedAgentRuntime`."""

import asyncio
from dataclasses import dataclass

from _bout import PAYLOAD, check, obey
from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    message_handler,
)


@dataclass
class Text:
    content: str


class Echo(RoutedAgent):
    def __init__(self) -> None:
        super().__init__("gives back what it gets")

    @message_handler
    async def on_text(self, message: Text, ctx: MessageContext) -> Text:
        return message


async def main() -> None:
    runtime = SingleThreadedAgentRuntime()
    await Echo.register(runtime, "echo", Echo)
    runtime.start()
    echo = AgentId("echo", "default")

    async def call() -> Text:
        answer: Text = await runtime.send_message(Text(PAYLOAD), echo)
        return answer

    check((await call()).content)
    await obey(call)
    await runtime.stop()


asyncio.run(main())
