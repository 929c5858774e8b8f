// A worker: serves an agent until it is stopped. At-least-once deliveries, exactly one result.

import { newId, now, token, Wire } from "./wire.mjs";

/** A heartbeat each third of the consumer's acknowledgement wait keeps a delivery. */
const HEARTBEATS_PER_WAIT = 3;

const RETRY = { maxAttempts: 3, initialBackoff: 1, maxBackoff: 30, multiplier: 2 };

/** Deliveries of a call that never ended; its process died each time. */
const MAX_DEATHS = 5;

/** Throw it from a handler when a second try may help. */
export class Retryable extends Error {
  constructor(message, { code = "retryable" } = {}) {
    super(message);
    this.code = code;
  }
}

/** The step was cancelled; `signal.reason` of the handler. */
class Cancelled extends Error {}

/**
 * Serves an agent: `handler(payload, {run, step, attempt, meta, signal})` returns the result.
 *
 * The agent's consumer is provisioned (`aixgo provision`). Returns `{stop}`, which takes no new
 * deliveries and waits for those at work.
 */
export async function serve(connection, agent, handler, options = {}) {
  const { namespace = "default", concurrency = 8, retry = RETRY } = options;
  const worker = new Worker(new Wire(connection, namespace), token(agent, "agent"), handler, {
    ...RETRY,
    ...retry,
  });
  return await worker.start(concurrency);
}

class Worker {
  constructor(wire, agent, handler, retry) {
    this.wire = wire;
    this.agent = agent;
    this.handler = handler;
    this.retry = retry;
    this.work = new Map(); // subject of the result → {message, request, subject, abort}
  }

  async start(concurrency) {
    const consumer = await this.wire.js.consumers.get(this.wire.stream("CALLS"), this.agent);
    const { config } = await consumer.info();
    const messages = await consumer.consume({ max_messages: concurrency });
    const beating = setInterval(() => this.#beat(), config.ack_wait / 1e6 / HEARTBEATS_PER_WAIT);
    const cancels = this.wire.connection.subscribe(`${this.wire.prefix}ctl.cancel.*`);
    const listening = this.#listen(cancels);
    const running = new Set();
    const taking = (async () => {
      for await (const message of messages) {
        while (running.size >= concurrency) await Promise.race(running);
        const one = this.#serve(message)
          .catch((error) => console.error(`${this.agent}: not answered, comes back: ${error.message}`))
          .finally(() => running.delete(one));
        running.add(one);
      }
    })();
    return {
      stop: async () => {
        await messages.close();
        await taking;
        await Promise.all(running);
        clearInterval(beating);
        cancels.unsubscribe();
        await listening;
      },
    };
  }

  #beat() {
    for (const work of this.work.values()) {
      work.message.working();
      // a cancel signal can be lost, its record cannot
      this.wire.result(work.subject).then(
        (standing) => standing && work.abort.abort(new Cancelled("it has its result already")),
        () => {}, // the next beat looks again
      );
    }
  }

  async #listen(cancels) {
    for await (const message of cancels) {
      const { run, step: cancelled = "", meta = {} } = message.json();
      for (const { request, abort } of this.work.values()) {
        const step = request.step;
        const below = !cancelled || step === cancelled || step.startsWith(`${cancelled}/`);
        if (request.run === run && below) abort.abort(new Cancelled(meta.reason ?? "cancelled"));
      }
    }
  }

  /** Answers one delivery. What must survive is stored before the delivery is acknowledged. */
  async #serve(message) {
    const [run, tail] = message.subject.split(".").slice(-2);
    const subject = `${this.wire.prefix}res.${this.agent}.${run}.${tail}`;
    const running = this.work.get(subject);
    if (running) {
      running.message = message; // it came back while it is at work: answer the newest delivery
      return;
    }
    const work = { message, subject, run, request: null, abort: new AbortController() };
    this.work.set(subject, work);
    try {
      await this.#execute(work);
    } finally {
      this.work.delete(subject);
    }
  }

  async #execute(work) {
    const { message, subject, run, abort } = work;
    try {
      work.request = read(message, this.agent, run);
    } catch (error) {
      await this.#giveUp(work, failure(error, "invalid_payload", this.agent, 1));
      return;
    }
    const request = work.request;
    if ((await this.wire.result(subject)) !== null) {
      await this.#finish(work);
      return;
    }
    const deliveries = message.info.deliveryCount;
    const attempts = request.attempt + deliveries;
    if (request.deadline && now() >= request.deadline) {
      const error = { code: "deadline_exceeded", message: "the deadline is over", agent: this.agent };
      await this.#end(work, { status: "expired", error });
      return;
    }
    if (deliveries > MAX_DEATHS) {
      const died = new Error(`the process died ${deliveries - 1} times while it worked on this`);
      await this.#giveUp(work, failure(died, "process_died", this.agent, attempts));
      return;
    }
    const began = now();
    let payload;
    try {
      payload = await this.handler(await this.wire.payload(request), {
        run,
        step: request.step,
        attempt: attempts,
        meta: request.meta,
        signal: abort.signal,
      });
    } catch (error) {
      await this.#failed(work, error, attempts);
      return;
    }
    await this.#end(work, { status: "done", payload, attempts, seconds: now() - began });
  }

  async #failed(work, error, attempts) {
    const { request, abort } = work;
    if (abort.signal.aborted) {
      const { message } = abort.signal.reason;
      const reason = { code: "cancelled", message, agent: this.agent };
      await this.#end(work, { status: "cancelled", error: reason });
      return;
    }
    const found = failure(error, error.code ?? error.name, this.agent, attempts);
    const used = attempts - request.excused;
    const delay = this.#delay(used);
    const late = request.deadline && now() + delay >= request.deadline;
    if (error instanceof Retryable && used < this.retry.maxAttempts && !late) {
      work.message.nak(delay * 1000);
      this.#note("failed", request, { attempt: attempts, error: found, retry_in: delay });
      return;
    }
    await this.#giveUp(work, found);
  }

  /** Seconds until the next attempt: exponential, half of it random. */
  #delay(attempt) {
    const { initialBackoff, maxBackoff, multiplier } = this.retry;
    const most = Math.min(maxBackoff, initialBackoff * multiplier ** (attempt - 1));
    return most / 2 + (Math.random() * most) / 2;
  }

  /** Stores a result, whatever its status, then acknowledges. */
  async #end(work, { status, payload, error, attempts = 0, seconds = 0 }) {
    const result = this.#result(work, { status, attempt: attempts, seconds, error });
    if (status === "done") result.payload = payload ?? null;
    await this.wire.settle(work.subject, result);
    await this.#finish(work);
  }

  async #finish({ message, request }) {
    // its caller may be parked until this result is there
    if (request.woken && request.depth) await this.wire.wake(request.run, request.parent);
    message.ack();
  }

  /** A dead letter, then an error result, then never again. */
  async #giveUp(work, error) {
    const { message, request } = work;
    const letter = {
      stream: "CALLS",
      subject: message.subject,
      agent: this.agent,
      failure: error,
      at: now(),
    };
    if (request) letter.envelope = message.json();
    else letter.raw = Buffer.from(message.data).toString("base64");
    const tail = message.subject.slice(this.wire.prefix.length);
    const original = request?.id ?? `${message.info.stream}.${message.seq}`;
    await this.wire.append(`${this.wire.prefix}dlq.CALLS.${tail}`, letter, {
      msgID: `${this.agent}.${original}`,
    });
    await this.wire.settle(
      work.subject,
      this.#result(work, { status: "error", attempt: error.attempts, error }),
    );
    if (request) {
      this.#note("dead_letter", request, { attempt: error.attempts, error });
      if (request.woken && request.depth) await this.wire.wake(request.run, request.parent);
    }
    work.message.term(`${error.code}: ${error.message}`.slice(0, 200));
  }

  /** Returns a result of a request: what its caller and a replay need of it is copied. */
  #result({ request, run }, facts) {
    const { source = "", step = "", depth = 0, parent = "" } = request ?? {};
    const { traceparent = "", fingerprint = "" } = request ?? {};
    const about = { run, step, depth, parent, traceparent, fingerprint };
    return {
      id: newId(),
      kind: "result",
      source: this.agent,
      target: source,
      ...about,
      sent_at: now(),
      ...facts,
    };
  }

  /** Tells people what results cannot; unacknowledged, so it may be lost. */
  #note(what, request, facts) {
    const note = { what, run: request.run, agent: this.agent, step: request.step, at: now(), ...facts };
    this.wire.connection.publish(`${this.wire.prefix}hist.${request.run}`, JSON.stringify(note));
  }
}

/** Returns the request of a delivery; ids that are missing come from its subject. */
function read(message, agent, run) {
  const given = message.json();
  if (given === null || typeof given !== "object" || typeof given.id !== "string") {
    throw new TypeError("not an envelope: give at least `id` and `kind`");
  }
  const defaults = { source: "", step: "", depth: 0, parent: "", attempt: 0, excused: 0, meta: {} };
  const request = { ...defaults, traceparent: "", fingerprint: "", ...given };
  for (const [name, value] of [["run", run], ["target", agent]]) {
    request[name] ||= value;
    if (request[name] !== value) {
      throw new RangeError(`${name} is ${JSON.stringify(given[name])}, but the subject says '${value}'`);
    }
  }
  return request;
}

function failure(error, code, agent, attempts) {
  return { code: String(code), message: String(error.message).slice(0, 8000), agent, attempts };
}
