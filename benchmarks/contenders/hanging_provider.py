"""A provider that never answers and says when it is asked and left: `hanging_provider.py PORT`.

Prints the port it listens on; PORT is where it says what happens.
"""

import asyncio
import sys

from _bout import say
from _cancelling import tell


async def main(witness: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        tell(witness, "asked")
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass  # a reset is a hang-up too
        tell(witness, "socket")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    say(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
