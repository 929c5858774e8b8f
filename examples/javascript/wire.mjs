// What travels, as subjects.md describes it: names, envelopes, large bodies, the one result of a step.

import { createHash, randomBytes } from "node:crypto";
import { jetstream, JetStreamApiError } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";
import { blake2b } from "@noble/hashes/blake2.js";

/** Bytes of a payload that travel in the message; a larger one goes through the object store. */
const LARGEST_PAYLOAD = 64 * 1024;

/** Seconds that a call stays in the queue past its deadline, so that a worker can say `expired`. */
const TTL_SLACK = 60;

/** JetStream's codes for "the subject has a record already". */
const LOST = new Set([10070, 10071, 10164]);

/** JetStream's codes for "try again soon" that are not HTTP's 503: see nats-server's errors.json. */
const BUSY = new Set([10049, 10158, 10167]);

const MOST_PUBLISH_ATTEMPTS = 20;
const TOKEN = /^[A-Za-z0-9_-]{1,32}$/;
const READABLE_STEP = /^[A-Za-z0-9][A-Za-z0-9/-]*$/;

export const now = () => Date.now() / 1000;
export const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

/** Returns a time-ordered id of 32 hexadecimal digits (UUID version 7). */
export function newId() {
  const time = Date.now().toString(16).padStart(12, "0");
  const random = randomBytes(10).toString("hex");
  const variant = "89ab"[parseInt(random[3], 16) & 3];
  return `${time}7${random.slice(0, 3)}${variant}${random.slice(4, 19)}`;
}

/** Returns a token of a subject, or throws: a wildcard or a dot would reach what others own. */
export function token(value, what) {
  if (typeof value !== "string" || !TOKEN.test(value)) {
    throw new RangeError(
      `${what} ${JSON.stringify(value)} cannot be part of a subject: ` +
        "1 to 32 characters of A-Z, a-z, 0-9, '_' and '-'",
    );
  }
  return value;
}

/** Returns the token of a step's path: readable when it fits, else a digest. */
export function stepToken(path) {
  if (!path) return "root";
  if (path.length <= 32 && path.includes("/") && READABLE_STEP.test(path)) {
    return path.replaceAll("/", "_");
  }
  const digest = blake2b(new TextEncoder().encode(path), { dkLen: 15 });
  return `_${Buffer.from(digest).toString("hex")}`;
}

/** One namespace over one connection. */
export class Wire {
  constructor(connection, namespace = "default") {
    this.connection = connection;
    this.namespace = token(namespace, "namespace");
    this.prefix = `aixgo.${namespace}.`;
    this.js = jetstream(connection);
  }

  stream(short) {
    return `aixgo-${this.namespace}-${short}`;
  }

  /** Subject of an agent's step under a verb: `call`, `res` or `live.res`. */
  of(verb, agent, run, step) {
    return `${this.prefix}${verb}.${token(agent, "agent")}.${token(run, "run")}.${stepToken(step)}`;
  }

  async bucket(short) {
    return await new Kvm(this.js).open(this.stream(short));
  }

  // -- large bodies --------------------------------------------------------------------------

  async #blobs() {
    this.blobs ??= await new Objm(this.js).open(this.stream("blobs"));
    return this.blobs;
  }

  /** Returns the envelope's payload, wherever it is. */
  async payload(envelope) {
    if (!envelope.blob) return envelope.payload ?? null;
    const { key, size, sha256 } = envelope.blob;
    const body = await (await this.#blobs()).getBlob(key);
    if (body === null) throw new Error(`the payload ${key} is no longer in the object store`);
    const digest = createHash("sha256").update(body).digest("hex");
    if (body.length !== size || digest !== sha256) throw new Error(`the payload ${key} is damaged`);
    return JSON.parse(new TextDecoder().decode(body));
  }

  /** Returns the envelope as it can travel: unchanged, or with a claim check of its payload. */
  async travelling(envelope) {
    const body = Buffer.from(JSON.stringify(envelope.payload ?? null));
    if (body.length <= LARGEST_PAYLOAD) return envelope;
    const key = createHash("sha256").update(body).digest("hex");
    await (await this.#blobs()).putBlob({ name: key }, body);
    const { payload, ...rest } = envelope;
    return { ...rest, blob: { key, size: body.length, sha256: key } };
  }

  // -- appending -----------------------------------------------------------------------------

  /** Appends to a stream until it says so; again with the same message id is harmless. */
  async append(subject, envelope, options = {}) {
    const data = JSON.stringify(envelope);
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.js.publish(subject, data, options);
      } catch (error) {
        if (attempt >= MOST_PUBLISH_ATTEMPTS || !passes(error)) throw error;
        await pause(Math.min(2, 0.05 * 2 ** attempt));
      }
    }
  }

  /** Returns the one result of a step, or null. The stream's leader answers, never a replica. */
  async result(subject) {
    const manager = await this.js.jetstreamManager();
    const found = await manager.streams.getMessage(this.stream("RESULTS"), {
      last_by_subj: subject,
    });
    return found === null ? null : found.json();
  }

  /** Stores a step's result if it has none; returns the one that stands, this or another. */
  async settle(subject, result) {
    const travelling = await this.travelling(result);
    for (;;) {
      try {
        await this.append(subject, travelling, { expect: { lastSubjectSequence: 0 } });
        return result;
      } catch (error) {
        if (!(error instanceof JetStreamApiError) || !LOST.has(error.apiError().err_code)) {
          throw error;
        }
        const standing = await this.result(subject);
        if (standing !== null) return standing; // perhaps our own, whose answer was lost
      }
    }
  }

  // -- calls ---------------------------------------------------------------------------------

  /** Publishes a call; the message id makes the same publication twice one call. */
  async publishCall(envelope) {
    const { target, run, step = "", epoch = 0, attempt = 0, excused = 0 } = envelope;
    const id = `${target}.${run}.${stepToken(step)}`;
    const options = {
      msgID: epoch || attempt ? `${id}:${epoch}.${attempt}.${excused}` : id,
    };
    if (envelope.deadline) {
      const left = Math.max(1, Math.ceil(envelope.deadline - now()));
      options.ttl = `${left + TTL_SLACK}s`;
    }
    const travelling = await this.travelling(envelope);
    await this.append(this.of("call", target, run, step), travelling, options);
  }

  /** Publishes a parked call again, if it is parked. */
  async wake(run, step) {
    const parked = await this.bucket("parked");
    const key = `${token(run, "run")}.${stepToken(step)}`;
    const entry = await parked.get(key);
    if (entry === null || entry.length === 0) return false;
    await this.publishCall({ ...entry.json().request, sent_at: now() });
    const manager = await this.js.jetstreamManager();
    await manager.streams.purge(`KV_${this.stream("parked")}`, {
      filter: `$KV.${this.stream("parked")}.${key}`,
      seq: entry.revision + 1, // if it parked anew meanwhile, that stays
    });
    return true;
  }
}

/** Whether the same request may succeed soon: an election, a restart, a lost connection. */
function passes(error) {
  if (!(error instanceof JetStreamApiError)) return true;
  const { code, err_code } = error.apiError();
  return code === 503 || BUSY.has(err_code);
}
