"""One trace with the right parents across three processes."""

from __future__ import annotations

import asyncio
import gzip
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from aixgo import Agent, App, Context, Message, connect
from aixgo.envelope import new_id
from aixgo.models.scripted import ScriptedModel
from aixgo.telemetry import otel
from aixgo.testing.nats_server import NatsServer

pytestmark = pytest.mark.nats


class Collector:
    """An OTLP/HTTP receiver that keeps the spans it gets, with the service that sent each."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        spans = self.spans

        class Receive(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    names = {
                        pair.key: pair.value.string_value for pair in group.resource.attributes
                    }
                    for scope in group.scope_spans:
                        spans.extend((names["service.name"], span) for span in scope.spans)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    receiving = Collector()
    yield receiving
    receiving.close()


@pytest.mark.long
async def test_a_call_over_three_processes_is_one_trace(
    service: Callable[..., Any],
    nats_server: NatsServer,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space, endpoint = f"p{new_id()[-12:]}", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    services = [service(space, name, **endpoint) for name in ("leaf", "middle")]
    for one in services:
        await asyncio.to_thread(one.until_ready)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    with otel.configured("client"):
        async with connect(nats_server.url, namespace=space) as client:
            result = await client.call("middle", "hello")
    assert result.text == "HELLO"
    for one in services:
        one.send(signal.SIGTERM)
        assert await asyncio.to_thread(one.wait) == 0

    spans = [(name, s) for name, s in collector.spans if s.trace_id.hex() == result.trace_id]
    by_id = {span.span_id: (name, span) for name, span in spans}
    chain = [
        ("client", "invoke_agent middle"),
        ("client", "publish call.middle"),
        ("middle", "process call.middle"),
        ("middle", "publish call.leaf"),
        ("leaf", "process call.leaf"),
    ]
    found = {(name, span.name): span for name, span in spans}
    assert set(found) == set(chain)
    assert not found[chain[0]].parent_span_id
    for parent, child in pairwise(chain):
        name, span = by_id[found[child].parent_span_id]
        assert (name, span.name) == parent


async def test_a_model_call_is_a_span_below_the_agent_that_made_it(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(message: Message, ctx: Context) -> str:
        return (await ctx.model.chat(message.text)).text

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    app = App(
        [Agent("ask", ask, model="scripted/small", temperature=0)],
        model=ScriptedModel(["a short answer"]),
    )
    with otel.configured("one"):
        async with app.running() as system:
            result = await system.call("ask", "why?")
    spans = {span.name: span for _, span in collector.spans}
    chain = [
        "invoke_agent ask",
        "publish call.ask",
        "process call.ask",
        "publish call.llm",
        "process call.llm",
        "chat scripted/small",
    ]
    assert set(spans) == set(chain)
    assert {span.trace_id.hex() for span in spans.values()} == {result.trace_id}
    for parent, child in pairwise(chain):
        assert spans[child].parent_span_id == spans[parent].span_id
    attributes = {pair.key: pair.value for pair in spans[chain[-1]].attributes}
    assert attributes["gen_ai.operation.name"].string_value == "chat"
    assert attributes["gen_ai.request.model"].string_value == "small"
    assert attributes["gen_ai.usage.output_tokens"].int_value == 3


async def test_a_dead_collector_costs_no_call_and_a_bounded_shutdown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def echo(text: str) -> str:
        return text

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    loop = asyncio.get_running_loop()
    with otel.configured("one"):
        async with App([Agent("echo", echo)]).running() as system:
            assert (await system.call("echo", "hi")).text == "hi"
        left = loop.time()
    # without the bound it tries for half a minute, with time-outs of ten seconds
    assert loop.time() - left < otel.FLUSH_SECONDS + 7.0
