/**
 * Users of the JavaScript client, many in one process of Node: they send at random, and say on
 * stdout, a line each, all that the client tells them. `tests.chaos.noderun` starts it.
 *
 * The plan comes as JSON in the first line of stdin; "calm" then ends the sending. After that "last"
 * has each user say one thing more to each of its chats. Each is answered once it is done.
 */
import { createInterface } from "node:readline";
import { RelayClient } from "../../relay/web/client/relay-client.js";

/** Numbers in [0, 1) of a seed (mulberry32). */
function randomOf(seed) {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const say = (kind, user, ...more) => console.log(JSON.stringify([kind, user, ...more]));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let isCalm = false;
const lasts = []; // for each user: to say the last thing

function live({ url, limits, everyMs, seed }, { user, token, chats }) {
  const random = randomOf(seed + Number(user.slice(-6)));
  const client = new RelayClient(url, user, { limits, ...(token && { token }) });
  client.on("message", async (message) => {
    const { id, chat, sender, body, t } = message;
    say("message", user, { id, chat, sender, body, t }); // before anybody can hear of its ack
    if (random() < 0.1) await pause(random() * 200); // one that takes its time
    if (random() < 0.5) client.markRead(message);
  });
  client.on("sent", ({ id, chat, t }) => say("sent", user, { id, chat, t }));
  client.on("receipt", ({ id, chat, user: by, level, t }) =>
    say("receipt", user, { id, chat, by, level, t }),
  );
  client.on("failed", ({ id, code, reason }) => say("failed", user, { id, code, reason }));
  client.on("refused", ({ id, code, reason }) => say("failed", user, { id, code, reason }));
  client.on("delayed", ({ code }) => say("delayed", user, { code }));
  client.on("connected", () => say("connected", user));
  client.on("disconnected", ({ code, reason }) => say("disconnected", user, { code, reason }));
  client.on("trouble", ({ error }) => say("trouble", user, { reason: String(error?.stack) }));
  client.on("end", ({ error }) => say("end", user, { reason: String(error) }));
  client.connect();

  const sent = new Map();
  function send(chat) {
    const number = sent.get(chat) ?? 0;
    sent.set(chat, number + 1);
    const id = chat.prefix + number.toString(16).padStart(8, "0");
    const text = `${id} `.padEnd(20 + Math.floor(random() ** 4 * 3000), ".");
    client.send(chat.to, text, { id });
    // Which time it says is the client's business, and what recipients must see.
    const [, , [element]] = JSON.parse(client.protocol.outbox.sends.get(id).frame);
    say("send", user, { id, text, t: Number(element.messageTimestamp) });
  }
  function speak() {
    if (isCalm) return;
    setTimeout(speak, -Math.log(1 - random()) * everyMs);
    const chat = chats[Math.floor(random() * chats.length)];
    for (let count = random() < 0.1 ? 8 : 1; count; count -= 1) send(chat);
  }
  setTimeout(speak, 500 + random() * everyMs);
  lasts.push(() => chats.forEach(send));
}

const input = createInterface({ input: process.stdin });
input.on("line", (line) => {
  if (line === "calm") isCalm = true;
  else if (line === "last") for (const last of lasts) last();
  else {
    const plan = JSON.parse(line);
    for (const each of plan.users) live(plan, each);
    return;
  }
  say(line, "");
});
input.on("close", () => process.exit(0));
