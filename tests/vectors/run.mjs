// Runs the vectors on the pure part of the JavaScript client: node run.mjs MODULE < client.json
// Prints one JSON object a line for each vector: its name, and what was wrong, or null.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

const { ClientProtocol } = await import(process.argv[2]);
const { vectors } = JSON.parse(readFileSync(0, "utf8"));

class Runner {
  constructor({ user = "917069852821", now = 1566970700, limits, token, canRenew, chance = 0.5 }) {
    this.protocol = new ClientProtocol(user, limits);
    this.protocol.login.canRenew = Boolean(canRenew);
    if (token) this.protocol.setToken(token);
    this.now = { wall: now, up: 0, chance };
    this.happened = [];
  }

  step(step) {
    const { protocol, now } = this;
    now.up = step.up ?? step.open ?? now.up;
    now.chance = step.chance ?? now.chance;
    if ("open" in step) protocol.connectionOpened(now);
    if ("lost" in step)
      this.happened.push(...protocol.connectionLost({ code: step.lost, reason: "" }, now));
    if ("token" in step) protocol.setToken(step.token);
    if ("in" in step) {
      const text = typeof step.in === "string" ? step.in : JSON.stringify(step.in);
      this.happened.push(...protocol.receive(text, now));
    }
    if ("send" in step) this.send(step);
    if ("mark" in step) protocol.acknowledge(step.mark, step.level, now.wall);
    if ("take" in step) same(this.take(), step.take, "taken");
    if ("out" in step) same(this.written(), step.out, "written");
    if ("events" in step) same(this.happened.splice(0).map(shown), step.events, "happened");
    if ("state" in step) {
      const state = {
        online: protocol.online,
        unacked: protocol.outbox.sends.size,
        end: protocol.failure?.name ?? null,
      };
      for (const [key, value] of Object.entries(step.state)) same(state[key], value, key);
    }
  }

  send({ send: { to, message, id }, error }) {
    let refused = false;
    try {
      this.protocol.submit(to, message, id, this.now);
    } catch {
      refused = true;
    }
    same(refused, Boolean(error), `refused ${id}`);
  }

  take() {
    const ids = [];
    for (let message; (message = this.protocol.nextMessage()); ) {
      ids.push(message.id);
      this.protocol.acknowledge(message, 2, this.now.wall);
    }
    return ids;
  }

  written() {
    const frames = [];
    for (let frame; (frame = this.protocol.nextFrame(this.now)) !== null; ) {
      frames.push(JSON.parse(frame));
      this.protocol.frameSent();
    }
    return frames;
  }
}

function shown(event) {
  const { text, isGroup, ...rest } = event;
  if (event.type === "disconnected") delete rest.reason;
  return rest;
}

function same(found, expected, what) {
  if (!isDeepStrictEqual(found, expected))
    throw new Error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
}

for (const vector of vectors) {
  if (vector.only && !vector.only.includes("javascript")) continue;
  const runner = new Runner(vector);
  let wrong = null;
  for (const [index, step] of vector.steps.entries()) {
    try {
      runner.step(step);
    } catch (error) {
      wrong = `step ${index}, ${JSON.stringify(step)}: ${error.message}`;
      break;
    }
  }
  console.log(JSON.stringify({ name: vector.name, wrong }));
}
