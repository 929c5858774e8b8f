// Serves the agent `shout` until SIGTERM: node shout.mjs [nats://host:4222] [namespace]

import { connect } from "@nats-io/transport-node";
import { Retryable, serve } from "./worker.mjs";

const [servers = "nats://127.0.0.1:4222", namespace = "default"] = process.argv.slice(2);

/** Shouts. A number is thought about for that many seconds; `?` needs a second try. */
async function shout(payload, { run, attempt, signal }) {
  console.log(`run ${run}, attempt ${attempt}`);
  if (typeof payload === "number") {
    await thinking(payload, signal);
    return `${payload} s later`;
  }
  if (typeof payload !== "string") throw new TypeError("send a text, or a number of seconds");
  if (payload.endsWith("?") && attempt === 1) throw new Retryable("I did not hear you");
  return payload.toUpperCase();
}

function thinking(seconds, signal) {
  return new Promise((done, cancelled) => {
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), cancelled(signal.reason)));
  });
}

const connection = await connect({ servers, maxReconnectAttempts: -1 });
const worker = await serve(connection, "shout", shout, {
  namespace,
  retry: { initialBackoff: 0.1 },
});
console.log("ready");
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    await worker.stop();
    await connection.drain();
  });
}
