"""What every model adapter promises: one plain async function a promise.

`CORE` holds for all of them, `EMBEDDINGS` for those that embed. `WIRE` needs the fake provider
behind the adapter. pytest is not needed:

    async with fake_provider() as server:
        model = MyAdapter(server.base_url, api_key=model_checks.SECRET)
        stage = Stage(model, "mine/some-model", order=server.will, server=server)
        for check in model_checks.ALL:
            await check(stage)

A check returns when the promise is kept and raises AssertionError, with the expected and the seen,
when it is not.
"""

from __future__ import annotations

from aixgo.testing.model_checks._stage import SECRET, Check, Stage
from aixgo.testing.model_checks.core import CORE, EMBEDDINGS
from aixgo.testing.model_checks.wire import WIRE

ALL: tuple[Check, ...] = (*CORE, *EMBEDDINGS, *WIRE)

__all__ = ["ALL", "CORE", "EMBEDDINGS", "SECRET", "WIRE", "Check", "Stage"]
