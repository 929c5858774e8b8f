"""litellm's `acompletion` against the fake provider: `litellm_model.py PORT`."""

import asyncio
import os
import sys

from _bout import PAYLOAD, check, obey

os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}

import litellm


async def main(port: str) -> None:
    async def call() -> litellm.ModelResponse:
        return await litellm.acompletion(
            model="openai/gpt-4o",
            messages=[{"role": "user", "content": PAYLOAD}],
            api_base=f"http://127.0.0.1:{port}/v1",
            api_key="none",
            timeout=30,
            max_retries=0,
        )

    check((await call()).choices[0].message.content)
    await obey(call)


asyncio.run(main(sys.argv[1]))
