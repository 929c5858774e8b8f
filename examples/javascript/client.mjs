// A client: call an agent and wait for its one result, cancel, answer a person's question.

import { createHash } from "node:crypto";
import { newId, now, pause, token, Wire } from "./wire.mjs";

/** Seconds between two looks for a result whose republished copy was lost. */
const LOOK = 2;

/** A run that ended without a value; `code` is stable, the message is for people. */
export class RunFailed extends Error {
  constructor(result) {
    super(result.error?.message ?? `the run ended as ${result.status}`);
    this.status = result.status;
    this.code = result.error?.code ?? result.status;
  }
}

export class Client {
  constructor(connection, { namespace = "default", source = "javascript" } = {}) {
    this.wire = new Wire(connection, namespace);
    this.source = source;
  }

  /**
   * Starts a run and returns its result's payload.
   *
   * The same `run` again returns the same result and runs nothing twice. Throws `RunFailed` when
   * the run failed, expired or was cancelled.
   */
  async call(agent, payload, { timeout = 300, run = newId(), meta = {} } = {}) {
    const envelope = this.#envelope("call", agent, payload, run, timeout, meta);
    const subject = this.wire.of("res", agent, run, "");
    const live = this.wire.connection.subscribe(this.wire.of("live.res", agent, run, ""), { max: 1 });
    let arrived = null;
    const arrival = (async () => {
      for await (const message of live) arrived = message.json();
    })();
    try {
      // the copy on `live.res…` is quick and can be lost; the record cannot, so it is looked for too
      let result = await this.wire.result(subject);
      while (result === null && arrived === null) {
        await this.wire.publishCall(envelope); // the message id makes it harmless
        await Promise.race([arrival, pause(Math.min(LOOK, Math.max(0.05, envelope.deadline - now())))]);
        result = await this.wire.result(subject);
        if (result === null && now() >= envelope.deadline) {
          result = await this.wire.settle(subject, this.#ended(envelope, "expired", {
            code: "deadline_exceeded",
            message: `agent '${agent}' gave no result within ${timeout} s`,
          }));
        }
      }
      return await this.#value(result ?? arrived);
    } finally {
      live.unsubscribe();
    }
  }

  /** Cancels a run; false when it had its result already. */
  async cancel(agent, run, reason = "cancelled by a client") {
    const envelope = this.#envelope("call", agent, null, run, null, {});
    const cancelled = this.#ended(envelope, "cancelled", { code: "cancelled", message: reason });
    // the record comes first: it wins or loses against the run's own result
    const standing = await this.wire.settle(this.wire.of("res", agent, run, ""), cancelled);
    if (standing.status !== "cancelled") return false;
    const signal = { ...envelope, meta: { reason } };
    this.wire.connection.publish(`${this.wire.prefix}ctl.cancel.${run}`, JSON.stringify(signal));
    return true;
  }

  /** Asks one instance of an agent, without a record: quick, not repeated. */
  async rpc(agent, payload, { timeout = 5 } = {}) {
    const envelope = this.#envelope("rpc", agent, payload, newId(), timeout, {});
    const subject = `${this.wire.prefix}rpc.${token(agent, "agent")}.execute`;
    const answer = await this.wire.connection.request(subject, JSON.stringify(envelope), {
      timeout: timeout * 1000,
    });
    return await this.#value(answer.json());
  }

  /** Publishes an event in the name of `source`; every agent with it in its `inputs` gets it. */
  async publish(source, payload) {
    const event = { ...this.#envelope("event", "", payload, newId(), null, {}), source };
    const subject = `${this.wire.prefix}evt.${token(source, "source")}`;
    await this.wire.append(subject, await this.wire.travelling(event), {
      msgID: `${source}.${event.run}`,
    });
    return event.run;
  }

  /** Returns what a run asks people: `{agent, step, question, options}`. */
  async questions(run) {
    const parked = await this.wire.bucket("parked");
    const found = [];
    for await (const key of await parked.keys(`${token(run, "run")}.*`)) {
      const entry = await parked.get(key);
      if (entry === null || entry.length === 0) continue;
      const call = entry.json();
      for (const one of call.awaited ?? []) {
        if (one.question !== undefined) found.push({ ...one, waiting: call.request.step ?? "" });
      }
    }
    return found;
  }

  /** Answers a question of `questions`; the first answer counts and the run goes on. */
  async answer(run, question, payload) {
    if (question.options?.length && !question.options.includes(payload)) {
      throw new RangeError(`choose one of: ${question.options.join(", ")}`);
    }
    const { agent, step } = question;
    const frame = { ...this.#envelope("call", agent, null, run, null, {}), step };
    const result = { ...this.#ended(frame, "done"), payload };
    await this.wire.settle(this.wire.of("res", agent, run, step), result);
    await this.wire.wake(run, question.waiting);
  }

  #envelope(kind, agent, payload, run, timeout, meta) {
    const digest = createHash("sha256").update(token(run, "run")).digest("hex");
    return {
      id: run,
      kind,
      source: this.source,
      target: agent,
      run,
      payload,
      meta,
      ...(timeout === null ? {} : { deadline: now() + timeout }),
      traceparent: `00-${digest.slice(0, 32)}-${digest.slice(32, 48)}-00`,
      sent_at: now(),
    };
  }

  #ended(request, status, error) {
    return {
      id: newId(),
      kind: "result",
      source: request.target,
      target: request.source,
      run: request.run,
      step: request.step ?? "",
      traceparent: request.traceparent,
      sent_at: now(),
      status,
      ...(error ? { error: { ...error, agent: request.target } } : {}),
    };
  }

  async #value(result) {
    if (result.status && result.status !== "done") throw new RunFailed(result);
    return await this.wire.payload(result);
  }
}
