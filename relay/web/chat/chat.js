// @ts-check
/**
 * The chat page: what RelayClient tells, kept in IndexedDB and drawn. No text is taken for HTML.
 * @typedef {{key: string, n: number, id: string, chat: string, sender: string, text: string,
 *   t: number, mine: boolean, level: number, by: Record<string, number>, failed: string}} Entry one
 *   message; `level` is 0 while it waits, 1 sent, 2 delivered, 3 read; `n` gives their order
 */
import { RelayClient, chatName, newMessageId, userName } from "./relay-client.js";

const KEPT = 3000; // messages; the oldest go first
const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const url = document.querySelector("meta[name=relay]")?.getAttribute("content")
  || new URLSearchParams(location.search).get("url") || location.origin.replace(/^http/, "ws");
const LOGIN = `relay.login ${url}`; // a link to another relay must not take a token there

/** @type {Map<string, Entry>} */ const entries = new Map();
/** @type {Map<string, string>} */ const names = new Map(); // by chat
/** @type {Map<string, HTMLElement>} */ const lines = new Map(); // of the chat that is open
/** @type {Map<string, HTMLElement>} */ const buttons = new Map(); // by chat
/** @type {Record<string, string>} */ const drafts = {};
/** @type {RelayClient} */ let client;
/** @type {IDBDatabase | undefined} */ let database;
/** @type {BroadcastChannel | undefined} */ let tabs;
let [open, trouble, last] = ["", "", 0]; // a chat, a text, the order of the last message
let [isLost, isDue] = [false, false]; // the connection, a drawing

// -- what is kept, and what happens --
/** @param {(store: IDBObjectStore) => IDBRequest} act @returns {Promise<any>} */
const keep = (act) => new Promise((resolve, reject) => {
  if (!database) return resolve([]);
  // Strict: what was acked comes from nowhere else again.
  const work = database.transaction("kept", "readwrite", { durability: "strict" });
  const request = act(work.objectStore("kept"));
  // Another tab has added it.
  request.onerror = (event) => request.error?.name === "ConstraintError" && event.preventDefault();
  work.oncomplete = () => resolve(request.result);
  work.onabort = () => reject(work.error);
});

/** @param {string} name @returns {Promise<IDBDatabase>} */
const openDatabase = (name) => new Promise((resolve, reject) => {
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("kept", { keyPath: "key" });
  opening.onsuccess = () => resolve(opening.result);
  opening.onerror = () => reject(opening.error);
});

const failed = (/** @type {any} */ error) => {
  trouble = `Trouble: ${error.message}`;
  draw();
};
const lose = (/** @type {boolean} */ is) => {
  isLost = is;
  draw();
};

/** Take what this tab or another knows of a message. @param {Entry} entry */
function take(entry) {
  const old = entries.get(entry.key) ?? entry;
  const [n, level] = [Math.min(old.n, entry.n), Math.max(old.level, entry.level)];
  entries.set(entry.key, { ...entry, n, level, by: { ...old.by, ...entry.by } });
  if (entries.size > KEPT) entries.delete(entries.keys().next().value ?? "");
  draw();
}

/** Keep a new message, unless another tab has. @param {Omit<Entry, "n" | "by" | "failed">} parts */
async function add(parts) {
  last = Math.max(last + 0.001, Date.now());
  const entry = { n: last, by: {}, failed: "", ...parts };
  await keep((store) => store.add(entry));
  tabs?.postMessage({ entry });
  take(entry);
}

/** @param {string} key @param {number} level @param {{by?: string, why?: string}} [more] */
function change(key, level, { by, why = "" } = {}) {
  const entry = entries.get(key);
  if (!entry) return;
  if (by) entry.by[by] = Math.max(level, entry.by[by] ?? 0);
  Object.assign(entry, { level: Math.max(level, entry.level), failed: why });
  keep((store) => store.put(entry)).catch(failed);
  tabs?.postMessage({ entry });
  draw();
}

/** @param {{key: string, id: string, chat: string, text: string}} entry */
function submit({ key, id, chat, text }) {
  try {
    client.send(chat, text, { id });
  } catch (error) {
    change(key, 0, { why: String(error) });
  }
}

/** @param {string} chat @param {string} text */
async function say(chat, text) {
  const id = newMessageId();
  const own = { key: `> ${id}`, id, chat, text, sender: client.user, mine: true, level: 0 };
  await add({ ...own, t: Date.now() / 1000 });
  submit(own);
}

/** Tell the authors of what is looked at. */
function look() {
  if (document.visibilityState === "visible" && client?.online)
    for (const each of entries.values())
      if (!each.mine && each.chat === open && each.level < 3) {
        client.markRead(/** @type {any} */ (each));
        change(each.key, 3);
      }
}

/** @param {{user: string, token: string}} login */
async function start({ user, token }) {
  const name = `relay chat ${url} ${user}`;
  client = new RelayClient(url, user, { outbox: true, ...(token && { token }) });
  [$("login").hidden, $("app").hidden, $("who").textContent] = [true, false, user];
  database = await openDatabase(name).catch((error) => void failed(error));
  const kept = await keep((store) => store.getAll());
  for (const { id, chat, called } of kept) if (!id) names.set(chat, called);
  /** @type {Entry[]} */
  const all = kept.filter(({ id = "" }) => id);
  all.sort((a, b) => a.n - b.n);
  for (const { key } of all.splice(0, Math.max(0, all.length - KEPT)))
    keep((store) => store.delete(key)).catch(failed);
  for (const each of all) entries.set(each.key, each);
  tabs = new BroadcastChannel(name);
  tabs.onmessage = ({ data: { entry, chat, called, isOut } }) => {
    if (isOut) {
      client.close();
      logOut({});
    } else if (entry) take(entry);
    else names.set(chat, called);
    draw();
  };

  client.on("message", async ({ id, chat, sender, text, body, t }) => {
    const said = { text: text || `(${Object.keys(body)[0]})`, t, mine: false, level: 2 };
    await add({ key: `${chat} ${sender} ${id}`, id, chat, sender, ...said }); // then it is acked
  });
  client.on("sent", ({ id }) => change(`> ${id}`, 1));
  client.on("receipt", ({ id, user: by, level }) => change(`> ${id}`, level, { by }));
  client.on("failed", ({ id, reason }) => change(`> ${id}`, 0, { why: reason }));
  client.on("connected", () => {
    trouble = "";
    lose(false);
  });
  client.on("disconnected", () => lose(true));
  client.on("end", draw);
  client.on("trouble", ({ error }) => failed(error));
  client.connect();
  for (const each of all) if (each.mine && !each.level && !each.failed) submit(each);
  setInterval(draw, 1000); // whether another tab is connected is no event
}

/** @param {{user?: string}} login */
function logOut(login) {
  localStorage.removeItem(LOGIN);
  sessionStorage.setItem(LOGIN, JSON.stringify(login));
  location.reload();
}

// -- what is shown --
/** @param {string} name @param {string} className @param {(string | Node)[]} children */
function make(name, className, ...children) {
  const element = Object.assign(document.createElement(name), { className });
  element.append(...children);
  return element;
}

/** Say it, and say nothing again. @param {string} id @param {string} text */
const write = (id, text) => void ($(id).textContent === text || ($(id).textContent = text));

/** Draw soon, once for whatever happens at once. */
function draw() {
  if (!isDue) setTimeout(() => {
    isDue = false;
    for (const each of [drawChats, drawLog, drawBanner, look]) each();
  }, 20);
  isDue = true;
}

const nameOf = (/** @type {string} */ chat) => names.get(chat) || chat;

function drawChats() {
  const chats = new Map([...names.keys()].map((chat) => [chat, { unread: 0, words: "" }]));
  let all = 0;
  for (const { chat, mine, level, text } of entries.values()) {
    const isNew = Number(!mine && level < 3);
    const unread = (chats.get(chat)?.unread ?? 0) + isNew;
    all += isNew;
    chats.delete(chat); // the latest goes to the end
    chats.set(chat, { unread, words: `${mine ? "You: " : ""}${text.slice(0, 80)}` });
  }
  const [list, focused] = [$("chats"), /** @type {any} */ (document.activeElement)];
  const items = [...chats].reverse().map(([chat, { unread, words }]) => {
    const button = buttons.get(chat) ?? make("button", "");
    buttons.set(chat, button);
    button.onclick = () => show(chat);
    button.ariaCurrent = chat === open ? "true" : null;
    const count = make("span", unread ? "count" : "", unread ? `${unread}` : "");
    if (unread) count.append(make("span", "hidden", " unread"));
    button.replaceChildren(make("bdi", "", nameOf(chat)), count, make("bdi", "quiet", words));
    return button.parentNode ?? make("li", "", button);
  });
  if (items.some((item, n) => item !== list.children[n])) list.replaceChildren(...items);
  if (focused?.isConnected && focused !== document.activeElement) focused.focus();
  document.title = all ? `(${all}) Chat` : "Chat";
}

function drawLog() {
  const log = $("log");
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  for (const each of entries.values()) if (each.chat === open) {
    const line = lines.get(each.key) ?? log.appendChild(lineOf(each));
    const state = JSON.stringify([each.level, each.failed, each.by]);
    if (line.dataset.state !== state) line.lastChild?.replaceWith(metaOf(each));
    line.dataset.state = state;
    lines.set(each.key, line);
  }
  if (isAtEnd) log.scrollTop = log.scrollHeight;
  write("title", open && nameOf(open));
}

/** @param {Entry} entry */
function lineOf({ mine, chat, sender, text }) {
  const body = make("div", "text", text);
  body.dir = "auto";
  const who = mine ? make("span", "hidden", "You:")
    : make("bdi", chat === sender ? "hidden" : "sender", nameOf(sender));
  return make("li", mine ? "mine" : "", who, body, "");
}

const TICKS = ["… waiting", "✓ sent", "✓✓ delivered", "✓✓ read", "✓✓ read"];

/** @param {Entry} entry */
function metaOf(entry) {
  const at = new Date(entry.t * 1000);
  const day = at.toDateString() !== new Date().toDateString() && { dateStyle: "short" };
  const time = at.toLocaleString([], /** @type {any} */ ({ timeStyle: "short", ...day }));
  const meta = make("div", "meta quiet", time, " ");
  if (entry.mine && entry.failed) {
    const again = make("button", "", "Send again");
    again.onclick = () => (change(entry.key, 0), submit(entry));
    meta.append(make("span", "bad", `not sent: ${entry.failed} `), again);
  } else if (entry.mine) {
    const [sign, word] = TICKS[entry.level].split(" ");
    const by = entry.chat.endsWith("@g.us") ? Object.values(entry.by) : [];
    const read = by.filter((level) => level > 2).length;
    const words = by.length ? `delivered to ${by.length}, read by ${read}` : word;
    const tick = make("span", word, `${sign}${by.length || ""}`);
    [tick.ariaHidden, meta.title] = ["true", words];
    meta.append(tick, make("span", "hidden", words));
  }
  return meta;
}

function drawBanner() {
  const waiting = [...entries.values()].filter((each) => each.mine && !each.level && !each.failed);
  const wait = waiting.length ? ` Waiting to be sent: ${waiting.length}.` : "";
  const { error, online } = client;
  const why = error?.name === "Replaced" ? "You are logged in elsewhere." : error?.message;
  const said = why ?? (isLost && !online ? "No connection; trying again." : "");
  write("said", said ? said + wait : trouble);
  $("again").hidden = !error;
  write("again", error?.name === "LoginRefused" ? "Log in" : "Connect here");
  write("state", online ? "online" : error ? "ended" : isLost ? "offline" : "connecting");
}

/** @param {string} chat */
function show(chat) {
  drafts[open] = $("text").value;
  open = chat;
  lines.clear();
  $("log").replaceChildren();
  $("log").ariaBusy = "true"; // what is old is not to be read out
  $("talk").hidden = !chat;
  $("text").value = drafts[chat] ?? "";
  drawLog();
  $("log").ariaBusy = "false";
  draw();
  // Where it is narrow a keyboard would come up over what is to be read.
  if (chat) $(matchMedia("(max-width: 640px)").matches ? "title" : "text").focus();
}

// -- what is done --
/** @param {string} form @param {string} refused @param {() => void} act */
const onSubmit = (form, refused, act) => ($(form).onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  write(refused, "");
  try {
    act();
  } catch (error) {
    write(refused, /** @type {Error} */ (error).message);
  }
});
onSubmit("login", "refused", () => {
  const login = { user: userName($("me").value.trim()), token: $("token").value.trim() };
  start(login).catch((error) => write("refused", error.message));
  sessionStorage.removeItem(LOGIN);
  ($("stay").checked ? localStorage : sessionStorage).setItem(LOGIN, JSON.stringify(login));
});
onSubmit("add", "unknown", () => {
  const chat = chatName($("address").value.trim());
  const called = $("name").value.trim() || names.get(chat) || "";
  names.set(chat, called);
  keep((store) => store.put({ key: `@ ${chat}`, chat, called })).catch(failed);
  tabs?.postMessage({ chat, called });
  $("add").reset();
  show(chat);
});
onSubmit("say", "said", () => {
  const text = $("text").value.trim();
  if (text) say(open, text).catch((error) => {
    $("text").value ||= text;
    failed(error);
  });
  $("text").value = "";
  $("log").scrollTop = $("log").scrollHeight;
});
$("text").onkeydown = (/** @type {KeyboardEvent} */ event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("say").requestSubmit();
};
$("back").onclick = () => {
  const button = buttons.get(open);
  show("");
  button?.focus();
};
document.onkeydown = ({ key }) => void (key === "Escape" && open && $("back").onclick());
document.onvisibilitychange = look;
$("again").onclick = () =>
  client.error?.name === "LoginRefused" ? logOut({ user: client.user }) : location.reload();
$("leave").onclick = async () => {
  tabs?.postMessage({ isOut: true }); // or another tab would go on keeping things
  await client.forget().catch(failed);
  await keep((store) => store.clear()).catch(failed);
  logOut({});
};

const before = JSON.parse(sessionStorage.getItem(LOGIN) ?? localStorage.getItem(LOGIN) ?? "{}");
$("me").value = before.user ?? "";
if (before.token === undefined) $("login").hidden = false;
else void start(before);
$("where").textContent = new URL(url).host;
