"""AutoGen's distributed runtime: `autogen_grpc.py ADDRESS host|worker`."""

import asyncio
import sys
from dataclasses import dataclass

from _bout import say
from autogen_core import MessageContext, RoutedAgent, message_handler
from autogen_ext.runtimes.grpc import GrpcWorkerAgentRuntime, GrpcWorkerAgentRuntimeHost


@dataclass
class Text:
    content: str


class Echo(RoutedAgent):
    def __init__(self) -> None:
        super().__init__("gives back what it gets")

    @message_handler
    async def on_text(self, message: Text, ctx: MessageContext) -> Text:
        return message


async def host(address: str) -> None:
    runtime = GrpcWorkerAgentRuntimeHost(address=address)
    runtime.start()
    say("ready")
    await asyncio.Event().wait()


async def worker(address: str) -> None:
    runtime = GrpcWorkerAgentRuntime(host_address=address)
    await runtime.start()
    await Echo.register(runtime, "echo", Echo)
    say("ready")
    await asyncio.Event().wait()


asyncio.run({"host": host, "worker": worker}[sys.argv[2]](sys.argv[1]))
