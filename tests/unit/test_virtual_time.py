"""The loop whose time jumps."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from aixgo import clock
from aixgo.testing import virtual_time
from aixgo.testing.virtual_time import EPOCH, Stalled, VirtualTimeLoop, run_virtual


def test_an_hour_takes_no_time() -> None:
    async def main() -> tuple[float, float]:
        before = clock.now()
        await asyncio.sleep(3600)
        return before, clock.now()

    began = time.monotonic()
    before, after = run_virtual(main())
    assert (before, after) == (EPOCH, EPOCH + 3600)
    assert time.monotonic() - began < 360


def test_timers_fire_in_order_at_their_time() -> None:
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[str, float]] = []

        def ring(name: str) -> None:
            seen.append((name, round(loop.time(), 6)))

        for name, delay in (("c", 0.3), ("a", 0.1), ("b", 0.2)):
            loop.call_later(delay, ring, name)
        await asyncio.sleep(1)
        return seen

    assert run_virtual(main()) == [("a", 0.1), ("b", 0.2), ("c", 0.3)]


def test_a_timeout_ends_what_never_ends() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(500):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 500


def test_waiting_for_nothing_is_an_error_that_names_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # another test's thread may be alive, and the loop would give it time to wake it
    monkeypatch.setattr("aixgo.testing.virtual_time.THREAD_SECONDS", 0.1)

    async def main() -> None:
        task = asyncio.create_task(asyncio.Event().wait(), name="the forgotten one")
        await task

    with pytest.raises(Stalled, match="the forgotten one"):
        run_virtual(main())


def test_while_a_thread_works_time_passes_really() -> None:
    async def main() -> tuple[bool, float]:
        loop = asyncio.get_running_loop()
        rang = asyncio.Event()
        loop.call_later(5000, rang.set)
        await asyncio.to_thread(time.sleep, 0.05)
        return rang.is_set(), loop.time()

    rang, elapsed = run_virtual(main())
    assert not rang, "the clock jumped to a timer although a thread was running"
    assert 0.04 <= elapsed < 5000
    assert run_virtual(_jump_after_thread()) == pytest.approx(10_000, abs=1000)


async def _jump_after_thread() -> float:
    await asyncio.to_thread(lambda: None)
    await asyncio.sleep(10_000)
    return asyncio.get_running_loop().time()


def test_closing_the_loop_waits_for_threads_as_long_as_it_really_takes() -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(asyncio.to_thread(time.sleep, 0.01))
        loop = runner.get_loop()
        before = loop.time()
    assert loop.time() - before < 100, "the bound on the executor's end passed in virtual time"


def test_a_thread_can_wake_a_loop_that_has_no_timer() -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()

        def answer() -> None:
            time.sleep(0.05)
            loop.call_soon_threadsafe(future.set_result, "woken")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            return await future
        finally:
            thread.join()

    assert run_virtual(main()) == "woken"


def test_sockets_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time, "THREAD_SECONDS", 0.01)

    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        with ours, theirs:
            thread = threading.Timer(0.1, theirs.send, (b"real",))
            thread.start()
            received = await loop.sock_recv(ours, 10)
            thread.join()
            return received

    assert run_virtual(main()) == b"real"


class TestInsideAnAnyioTest:
    @pytest.mark.virtual_time
    async def test_the_plugin_runs_tests_on_the_loop(self) -> None:
        await asyncio.sleep(86_400)
        assert clock.now() == EPOCH + 86_400
