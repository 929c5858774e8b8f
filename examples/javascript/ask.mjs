// Calls an agent: node ask.mjs AGENT TEXT [nats://host:4222] [namespace]

import { connect } from "@nats-io/transport-node";
import { Client, RunFailed } from "./client.mjs";

const [agent, text, servers = "nats://127.0.0.1:4222", namespace = "default"] =
  process.argv.slice(2);
if (!agent || text === undefined) {
  console.error("usage: node ask.mjs AGENT TEXT [nats://host:4222] [namespace]");
  process.exit(2);
}
const connection = await connect({ servers });
try {
  console.log(await new Client(connection, { namespace }).call(agent, text));
} catch (error) {
  if (!(error instanceof RunFailed)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await connection.close();
}
