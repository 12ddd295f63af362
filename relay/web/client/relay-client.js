// @ts-check
/**
 * A client of the relay for pages, Node, Deno and Bun: log in, take messages, send, and survive the
 * network. One module without dependencies; see docs/clients.md.
 *
 * `ClientProtocol` decides and does no I/O: frames in, events and frames out. `RelayClient` moves
 * them between it, a WebSocket, IndexedDB and the other tabs. Numbers such as R7 are of
 * docs/protocol.md.
 *
 * @typedef {"auto" | "manual"} AckMode
 * @typedef {Record<string, unknown>} Body what is said, as `{conversation: "hi"}`
 * @typedef {{type: "message", id: string, chat: string, sender: string, body: Body, t: number,
 *   text: string, isGroup: boolean}} Message `chat` is where an answer goes; `t` is in seconds
 * @typedef {{type: "sent", id: string, chat: string, t: number}} Sent ack 1: the relay stores it
 * @typedef {{type: "receipt", id: string, chat: string, user: string, level: number,
 *   t: number}} Receipt `user` got (2), read (3) or played (4) a message of ours
 * @typedef {{type: "failed", id: string, chat: string, code: number, reason: string,
 *   retryAfter: number | null}} Failed the relay refused a message; it was given up
 * @typedef {{type: "delayed", id: string, chat: string, code: number, reason: string,
 *   retryIn: number}} Delayed the relay cannot take a message now; it is sent again by itself
 * @typedef {{type: "connected"}} Connected logged in; what waited follows
 * @typedef {{type: "disconnected", code: number | null, reason: string, retryIn: number}
 *   } Disconnected `retryIn` is in seconds
 * @typedef {{type: "refused", code: number, reason: string, tag: string, id: string}} Refused an
 *   error that is about no message of ours
 * @typedef {Message | Sent | Receipt | Failed | Delayed | Connected | Disconnected | Refused
 *   } ProtocolEvent
 * @typedef {{type: "end", error: Error | null}} Ended the client has stopped for good
 * @typedef {{type: "trouble", error: unknown}} Trouble a handler or the storage failed
 * @typedef {ProtocolEvent | Ended | Trouble} ClientEvent
 * @typedef {{id: string, chat: string, message: Body}} Waiting a message without ack 1
 * @typedef {{renew: boolean}} TokenRequest `renew`: the last token has expired, or soon will
 * @typedef {string | ((request: TokenRequest) => string | Promise<string>)} Token
 *
 * @typedef {object} Options
 * @property {Token} [token] what the relay wants to see, or what fetches it
 * @property {AckMode} [ack] "manual": nothing is acked before `markDelivered` or `markRead`
 * @property {boolean} [outbox] keep messages in IndexedDB until their ack 1
 * @property {boolean} [tabs] share one connection with the site's other tabs; as a rule yes, where
 *   the browser can
 * @property {Partial<Limits>} [limits]
 * @property {new (url: string) => any} [WebSocket] where there is none, as in Node 20
 */

/** Bounds of one client, and its pace. Times are in seconds. */
export const LIMITS = Object.freeze({
  unackedSends: 10_000,
  heldMessages: 10_000,
  heldBytes: 64 * 1024 * 1024,
  remembered: 20_000, // messages, receipts and acks that are known again; the oldest go first
  frameBytes: 256 * 1024,
  keepaliveS: 20, // between two texts that say that this page lives (R7)
  confirmS: 2.5, // from a receipt to such a text: ping, pong and a second are then over
  answerS: 10, // for the answer to it; else the connection is dead
  loginS: 15,
  reconnectMinS: 0.5,
  reconnectMaxS: 30,
});
/** @typedef {{-readonly [K in keyof typeof LIMITS]: number}} Limits */

const KEEPALIVE = "?,,";
const MAX_RETRY_AFTER_S = 300; // however long the relay asks for
const STABLE_S = 10; // a login that held this long starts the backoff afresh
const SETTLED_S = 60; // from writing a late ack to hearing something: a dead connection is found out
const PASSING_LOGINS = [429, 500, 503];
const PASSING_SENDS = [429, 500, 503]; // 507 lasts: the user should hear of it
const RETRYABLE = [...PASSING_SENDS, 507];
const BROKEN = [1002, 1007, 1008]; // the client has a fault

/** What ends the client, or one message, for a reason outside the page. */
export class RelayError extends Error {
  /** @param {string} name @param {string} text @param {number} [code] */
  constructor(name, text, code = 0) {
    super(text);
    /** "LoginRefused", "Replaced", "ClientFault", "ClientClosed" or "SendRefused" */
    this.name = name;
    /** of docs/protocol.md, section 5, or a close code; 0 where there is none */
    this.code = code;
    /** whether the same message under the same id may be taken later */
    this.retryable = name === "SendRefused" && RETRYABLE.includes(code);
  }
}

// -- addresses and frames --------------------------------------------------------------------

const LOCAL = "[0-9A-Za-z][0-9A-Za-z._-]{0,63}";
const DOMAINS = ["s.whatsapp.com", "s.whatsapp.net", "c.us", "sc.us"];
const USER = new RegExp(
  `^\\+?(?:([0-9]{1,64})_[0-9]{1,64}|(${LOCAL}))(?::[0-9A-Za-z._-]{1,64})?(?:@([A-Za-z.]+))?$`,
);
const GROUP = new RegExp(`^(${LOCAL})@[gG]\\.[uU][sS]$`);
const MESSAGE_ID = /^[^\0-\x1f\x7f-\x9f]{1,128}$/u;
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * Return the local part of a user's address in any spelling (R11).
 * @param {unknown} text
 */
export function userName(text) {
  const found = typeof text === "string" && text.length <= 256 && USER.exec(text);
  if (found && (!found[3] || DOMAINS.includes(found[3].toLowerCase())))
    return /** @type {string} */ (found[1] || found[2]);
  throw new TypeError(`no user: ${JSON.stringify(text)}`);
}

/**
 * Return the one spelling of a chat that events have: a user's local part, or a group's jid.
 * @param {unknown} text
 */
export function chatName(text) {
  const found = typeof text === "string" && GROUP.exec(text);
  return found ? `${found[1]}@g.us` : userName(text);
}

/** @param {string} chat */
const isGroup = (chat) => chat.endsWith("@g.us");

/** @param {{chat: string, sender: string, id: string}} message */
const keyOf = (message) => `${message.chat} ${message.sender} ${message.id}`;

/** @param {unknown} t */
const seconds = (t) => Math.trunc(Number(t)) || 0;

/** @param {unknown} value @returns {value is Record<string, any>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Refuse what is no text. @param {unknown[]} values */
const texts = (...values) => {
  if (values.some((each) => typeof each !== "string")) throw new TypeError("no text");
};

/** @param {unknown} value */
const positive = (value) => (typeof value === "number" && value > 0 ? value : 0);

/** Return a message id: `3EB0`, the second, 48 random bits. Those of one time sort together. */
export function newMessageId() {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  const parts = [Math.trunc(Date.now() / 1000), ...bytes].map((n) => n.toString(16));
  return "3EB0" + parts.map((part) => part.padStart(2, "0")).join("").toUpperCase();
}

/**
 * Refuse what no relay would take.
 * @param {unknown} value
 * @param {number} level
 */
function check(value, level) {
  if (level > 32) throw new RangeError("frame of more than 32 nested levels");
  if (typeof value === "string" && LONE_SURROGATE.test(value))
    throw new TypeError("text that is no Unicode: a lone surrogate");
  if (typeof value !== "object" || value === null) return;
  for (const [key, child] of Object.entries(value)) {
    check(key, 0);
    check(child, typeof child === "object" ? level + 1 : level);
  }
}

/**
 * @param {string} chat
 * @param {Body} message
 * @param {string} id
 * @param {{wall: number, maxBytes: number}} more
 */
function sendFrame(chat, message, id, { wall, maxBytes }) {
  if (typeof id !== "string" || !MESSAGE_ID.test(id) || LONE_SURROGATE.test(id))
    throw new TypeError(`an id is 1 to 128 characters, none of them a control: ${id}`);
  if (!isObject(message) || Object.keys(message).length === 0)
    throw new TypeError("a message is a text, or an object with a key");
  check(message, 4);
  const key = { remoteJid: isGroup(chat) ? chat : `${chat}@s.whatsapp.com`, fromMe: true, id };
  const element = { message, key, messageTimestamp: String(Math.trunc(wall)) };
  const frame = JSON.stringify(["action", { add: "relay" }, [element]]);
  const size = new TextEncoder().encode(frame).length;
  if (size > maxBytes) throw new RangeError(`frame of ${size} bytes exceeds ${maxBytes}`);
  return frame;
}

/**
 * @param {string} user
 * @param {DueAck} due
 */
function ackFrame(user, { message: { chat, sender, id }, level, t }) {
  const me = `${user}@c.us`;
  const body = { from: `${sender}@c.us`, ack: level, cmd: "ack", id, t: String(t) };
  const group = isGroup(chat);
  return JSON.stringify([
    group ? "MsgInfo" : "Msg",
    group ? { ...body, to: chat, participant: me } : { ...body, to: me },
  ]);
}

/**
 * Read one element of an `action`; null for a copy of what this user sent.
 * @param {any} element
 * @returns {Message | null}
 */
function readMessage({ key, message, messageTimestamp, participant }) {
  const chat = chatName(key.remoteJid);
  if (typeof key.id !== "string" || !isObject(message)) throw new TypeError("no message");
  if (key.fromMe) return null;
  const sender = isGroup(chat) ? userName(participant) : chat;
  return makeMessage({ id: key.id, chat, sender, body: message, t: seconds(messageTimestamp) });
}

/**
 * @param {{id: string, chat: string, sender: string, body: Body, t: number}} parts
 * @returns {Message}
 */
function makeMessage(parts) {
  const extended = parts.body.extendedTextMessage;
  const text = parts.body.conversation ?? (isObject(extended) ? extended.text : "");
  return {
    type: "message",
    ...parts,
    text: typeof text === "string" ? text : "",
    isGroup: isGroup(parts.chat),
  };
}

// -- state: one machine for each ----------------------------------------------------------------

// What is marked as internal is no business of programs, and is left out of the types.

/**
 * @typedef {{code: number | null, reason: string}} Ending how a connection ended; `code` is null
 *   where the relay closed with none
 * @typedef {{wall: number, up: number, chance: number}} Moment seconds since 1970, seconds of any
 *   clock that is never set, and a number in [0, 1)
 * @typedef {{over: boolean, gathered: boolean}} Term a time in which one tab has the connection
 * @typedef {{chat: string, sender: string, id: string}} MessageKey
 * @typedef {{message: MessageKey, level: number, t: number, isLate: boolean}} DueAck `isLate`: the
 *   message does not come again, so that the ack may not be lost with the connection
 * @typedef {{code: number, reason: string, retryAfter?: number} | null} Refusal
 * @typedef {{chat: string, message: Body, frame: string, seq: number, tries: number}} Send
 */

/**
 * The newest `limit` entries that were put in. @internal
 * @template V
 */
class Memory {
  /** @type {Map<string, V>} */
  entries = new Map();

  #limit;

  /** @param {number} limit */
  constructor(limit) {
    this.#limit = limit;
  }

  /** @param {string} key @param {V} value */
  put(key, value) {
    this.entries.delete(key);
    this.entries.set(key, value);
    if (this.entries.size > this.#limit)
      this.entries.delete(/** @type {string} */ (this.entries.keys().next().value));
  }

  /** @param {string} key */
  get(key) {
    return this.entries.get(key);
  }
}

/** What the page has taken, and the acks that are due. Level 1: shown, and not acked yet.
 * @internal */
class Acks {
  /** @param {number} remembered */
  constructor(remembered) {
    /** @type {Memory<number>} */
    this.taken = new Memory(remembered);
    /** @type {Memory<DueAck>} */
    this.due = new Memory(remembered);
    /** Late acks that were written lately, the oldest first. @type {Memory<[DueAck, number]>} */
    this.late = new Memory(remembered);
  }

  /** Return whether the level has risen. @param {DueAck} ack @param {boolean} isDue */
  take(ack, isDue = true) {
    const key = keyOf(ack.message);
    if (ack.level <= (this.taken.get(key) ?? 0)) return false;
    this.taken.put(key, ack.level);
    if (isDue && ack.level > 1) this.due.put(key, ack);
    return true;
  }

  /** Note that an ack was written; one that rose meanwhile stays due. @param {DueAck} ack
   * @param {number} up */
  written(ack, up) {
    const key = keyOf(ack.message);
    if (this.due.get(key) === ack) this.due.entries.delete(key);
    if (ack.isLate) this.late.put(key, [ack, up]);
  }

  /** Something was heard on the same connection: what was written long before has arrived. @param {number} up */
  heard(up) {
    for (const [key, [, at]] of this.late.entries) {
      if (up - at < SETTLED_S) break;
      this.late.entries.delete(key);
    }
  }

  /** Have those late acks written again that may be lost. */
  startAgain() {
    for (const [key, [ack]] of this.late.entries)
      if (ack.level > (this.due.get(key)?.level ?? 0)) this.due.put(key, ack);
    this.late.entries.clear();
  }

  /** Return whether this message was taken before; it is acked again. @param {MessageKey} message
   * @param {number} t */
  repeat(message, t) {
    const level = this.taken.get(keyOf(message));
    if (level && level > 1) this.due.put(keyOf(message), { message, level, t, isLate: false });
    return level !== undefined;
  }
}

/** Messages that the page has not taken yet. Those beyond the bounds are left at the relay.
 * @internal */
class Inbox {
  leftBehind = false;
  #bytes = 0;
  /** @type {Map<string, {message: Message, size: number}>} */
  held = new Map();

  #limits;

  /** @param {Limits} limits */
  constructor(limits) {
    this.#limits = limits;
  }

  /** @param {Message} message @param {number} size */
  hold(message, size) {
    const { heldMessages, heldBytes } = this.#limits;
    const full =
      this.held.size >= heldMessages || (this.held.size && this.#bytes + size > heldBytes);
    // Behind the first that is left everything is, or the order would change.
    if (full) this.leftBehind = true;
    if (this.leftBehind) return false;
    this.held.set(keyOf(message), { message, size });
    this.#bytes += size;
    return true;
  }

  /** @param {MessageKey} message */
  take(message) {
    this.#bytes -= this.held.get(keyOf(message))?.size ?? 0;
    this.held.delete(keyOf(message));
  }
}

/** Sends without an answer, in the order of their calls. Each connection is told them anew.
 * @internal */
class Outbox {
  #seq = 0;
  /** @type {Map<string, Send>} */
  sends = new Map();
  /** Those of chats that wait are not among them. @type {Set<string>} */
  #unwritten = new Set();
  /** Chats whose sends wait, so that they keep their order: which, and until when.
   * @type {Map<string, {until: number, ids: string[]}>} */
  #holds = new Map();
  /** When to look at them; never later than the first may be told more. */
  #dueAt = Infinity;

  /** Whether exactly this send is under way. @param {string} id @param {string} chat
   * @param {Body} message */
  repeats(id, chat, message) {
    const send = this.sends.get(id);
    if (!send) return false;
    if (send.chat === chat && JSON.stringify(send.message) === JSON.stringify(message)) return true;
    throw new TypeError(`the id ${id} is under way with another message`);
  }

  /** @param {string} id @param {string} chat @param {Body} message @param {string} frame */
  add(id, chat, message, frame) {
    this.sends.set(id, { chat, message, frame, seq: this.#seq++, tries: 0 });
    const hold = this.#holds.get(chat);
    if (hold) hold.ids.push(id);
    else this.#unwritten.add(id);
  }

  startAgain() {
    this.#unwritten = new Set(this.sends.keys());
    this.#holds.clear();
    this.#dueAt = Infinity;
  }

  /** @param {number} up @returns {string | undefined} */
  next(up) {
    if (this.#dueAt <= up) {
      this.#dueAt = Infinity;
      for (const [chat, { until, ids }] of this.#holds)
        if (until <= up) {
          this.#holds.delete(chat);
          for (const id of ids) this.#unwritten.add(id);
        } else this.#dueAt = Math.min(this.#dueAt, until);
    }
    return this.#unwritten.values().next().value;
  }

  /** @param {string} id */
  written(id) {
    this.#unwritten.delete(id);
  }

  /** @param {string} id */
  remove(id) {
    const send = this.sends.get(id);
    this.sends.delete(id);
    this.#unwritten.delete(id);
    const hold = this.#holds.get(send?.chat ?? "");
    if (hold) hold.ids = hold.ids.filter((each) => each !== id);
    return send;
  }

  /** Send it again at `until`, before all that its chat has not been told yet.
   * @param {string} id @param {number} until */
  delay(id, until) {
    const { sends } = this;
    const unwritten = this.#unwritten;
    const send = /** @type {Send} */ (sends.get(id));
    send.tries += 1;
    let hold = this.#holds.get(send.chat);
    if (!hold) {
      const ids = [...unwritten].filter((each) => sends.get(each)?.chat === send.chat);
      for (const each of ids) unwritten.delete(each);
      this.#holds.set(send.chat, (hold = { until, ids }));
    }
    hold.until = Math.max(until, hold.until);
    this.#dueAt = Math.min(this.#dueAt, until);
    // Found by halves: where a flood is refused there are thousands, and each comes by here.
    let [low, high] = [0, hold.ids.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sends.get(hold.ids[middle])?.seq ?? 0) < send.seq) low = middle + 1;
      else high = middle;
    }
    if (hold.ids[low] !== id) hold.ids.splice(low, 0, id);
  }

  /** When the next held chat may be told more; Infinity where none waits. @param {number} up */
  dueIn(up) {
    return this.#dueAt - up;
  }

  largest() {
    let found = "";
    for (const [id, { frame }] of this.sends)
      if (frame.length > (this.sends.get(found)?.frame.length ?? 0)) found = id;
    return found;
  }
}

/** Which phase the connection is in, and what follows when it is lost. @internal */
class Login {
  /** @type {"offline" | "logging in" | "online" | "ending"} */
  phase = "offline";
  requestDue = false;
  /** @type {RelayError | null} */
  failure = null;
  retryIn = 0;
  asked = 0; // the part of `retryIn` that the relay asked for
  #attempt = 0;
  openedAt = 0;
  token = "";
  canRenew = false; // another token may be had
  wantsToken = false;
  #hasRenewed = false; // since the last login that succeeded
  /** @type {Refusal} */
  #refusal = null;
  /** @type {{kind?: string, retryAfter?: number} | null} */
  notice = null;

  #limits;

  /** @param {Limits} limits */
  constructor(limits) {
    this.#limits = limits;
  }

  request() {
    this.phase = "logging in";
    this.requestDue = true;
  }

  /** Take the answer; return whether it is a success that was awaited. @param {any} reply */
  replied(reply) {
    if (this.phase !== "logging in") return false;
    if (reply.status !== "success") {
      this.#refusal = { ...reply, code: seconds(reply.code), reason: String(reply.reason ?? "") };
      this.phase = "ending";
      return false;
    }
    this.phase = "online";
    this.#hasRenewed = this.wantsToken = false;
    return true;
  }

  /** @param {Ending} ending @param {Moment} now @returns {Disconnected | null} */
  lost({ code, reason }, now) {
    if (this.phase === "online" && now.up - this.openedAt >= STABLE_S) this.#attempt = 0;
    const refusal = this.#refusal;
    const { notice } = this;
    this.phase = "offline";
    this.requestDue = false;
    this.#refusal = this.notice = null;
    this.failure ??= this.final(code, reason, refusal, notice);
    if (this.failure) return null;
    const asked = Math.max(positive(refusal?.retryAfter), positive(notice?.retryAfter));
    this.asked = Math.min(asked, MAX_RETRY_AFTER_S);
    this.retryIn = this.asked + backoff(this.#attempt, this.#limits, now.chance);
    this.#attempt += 1;
    if (refusal) reason = `login refused: ${refusal.reason} (${refusal.code})`;
    return { type: "disconnected", code, reason, retryIn: this.retryIn };
  }

  /**
   * @param {number | null} code @param {string} reason
   * @param {Refusal} refusal @param {Login["notice"]} notice
   */
  final(code, reason, refusal, notice) {
    if (code === 4409 || notice?.kind === "replaced")
      return new RelayError("Replaced", "the same user logged in elsewhere", 4409);
    if (code !== null && BROKEN.includes(code))
      return new RelayError("ClientFault", `closed with ${code}: ${reason}`, code);
    if (refusal ? PASSING_LOGINS.includes(refusal.code) : code !== 4401) return null;
    const why = refusal?.code ?? 4401;
    if (this.canRenew && !this.#hasRenewed && (why === 401 || why === 4401)) {
      this.wantsToken = this.#hasRenewed = true;
      return null;
    }
    return new RelayError("LoginRefused", `login refused: ${refusal?.reason ?? reason}`, why);
  }
}

/** Full jitter: between 0 and a bound that doubles. @param {number} attempt
 * @param {{reconnectMinS: number, reconnectMaxS: number}} limits @param {number} chance */
function backoff(attempt, { reconnectMinS, reconnectMaxS }, chance) {
  return chance * Math.min(reconnectMaxS, reconnectMinS * 2 ** Math.min(attempt, 20));
}

/**
 * One user's side of the protocol, over any number of connections, without I/O.
 *
 * The caller reports `connectionOpened`, `receive` for every frame and `connectionLost`; it writes
 * `nextFrame` while there is one, and says `frameSent` after each. A message stays `nextMessage`
 * until it is acknowledged. Once `failure` is set nothing more is to be done.
 * @internal
 */
export class ClientProtocol {
  /** Frames, and messages in them, that made no sense. */
  ignored = 0;
  /** @type {(() => void) | null} */
  #written = null;
  #isAgain = false; // the login is a repeat on a connection that had one

  /** @param {string} user @param {Partial<Limits>} [limits] */
  constructor(user, limits) {
    this.user = userName(user);
    /** @type {Limits} */
    this.limits = { ...LIMITS, ...limits };
    this.login = new Login(this.limits);
    this.outbox = new Outbox();
    this.acks = new Acks(this.limits.remembered);
    this.inbox = new Inbox(this.limits);
    /** @type {Memory<number>} */
    this.receipts = new Memory(this.limits.remembered);
  }

  get online() {
    return this.login.phase === "online";
  }

  get failure() {
    return this.login.failure;
  }

  /** Show this token from here on. One that was refused is no renewal: the client has failed.
   * @param {string} token */
  setToken(token) {
    const { login } = this;
    if (login.wantsToken && token === login.token)
      login.failure = new RelayError("LoginRefused", "login refused: no newer token", 401);
    login.token = token;
  }

  /** @param {Moment} now */
  connectionOpened(now) {
    this.login.openedAt = now.up;
    this.login.request();
  }

  /** Log in again on a connection that is online: with a newer token, or to have all sent again. */
  loginAgain() {
    this.#isAgain = true;
    this.login.request();
  }

  /** @param {Ending} ending @param {Moment} now @returns {ProtocolEvent[]} */
  connectionLost(ending, now) {
    this.#written = null;
    this.#isAgain = this.inbox.leftBehind = false; // the next login sends everything anyway
    const lost = this.login.lost(ending, now);
    if (!lost) return [];
    // 1009 does not say which frame was too large; all of them again would be cut for ever.
    const id = ending.code === 1009 ? this.outbox.largest() : "";
    return id ? [this.#fail(id, 413, "frame too big for this relay"), lost] : [lost];
  }

  /** The frame to be written now, or null. @param {Moment} now @returns {string | null} */
  nextFrame(now) {
    this.#written = null;
    if (this.online) {
      const [due] = this.acks.due.entries;
      if (due) {
        this.#written = () => this.acks.written(due[1], now.up);
        return ackFrame(this.user, due[1]);
      }
      const id = this.outbox.next(now.up);
      if (id !== undefined) {
        this.#written = () => this.outbox.written(id);
        return /** @type {Send} */ (this.outbox.sends.get(id)).frame;
      }
      if (this.inbox.leftBehind && !this.inbox.held.size) this.loginAgain();
    }
    if (!this.login.requestDue) return null;
    this.#written = () => (this.login.requestDue = false);
    const { token } = this.login;
    const who = { remoteJid: `${this.user}@s.whatsapp.com`, ...(token && { token }) };
    return JSON.stringify(["auth", { type: "new" }, who]);
  }

  frameSent() {
    this.#written?.();
    this.#written = null;
  }

  /**
   * Take over a message; it is told to this and each later connection until it is answered.
   * A repeat of one that is under way changes nothing.
   * @param {string} to @param {Body} message @param {string} id @param {Moment} now
   */
  submit(to, message, id, now) {
    const chat = chatName(to);
    if (this.outbox.repeats(id, chat, message)) return;
    const maxBytes = this.limits.frameBytes;
    const frame = sendFrame(chat, message, id, { wall: now.wall, maxBytes });
    this.outbox.add(id, chat, message, frame);
  }

  /** @returns {Message | undefined} */
  nextMessage() {
    return this.inbox.held.values().next().value?.message;
  }

  /** Note that the page has taken a message: shown (1), delivered (2), read (3), played (4).
   * @param {MessageKey} message @param {number} level @param {number} wall
   * @param {boolean} [isDue] */
  acknowledge(message, level, wall, isDue) {
    this.acks.take(this.ackOf(message, level, wall), isDue);
    this.inbox.take(message);
  }

  /** @param {MessageKey} message @param {number} level @param {number} wall @returns {DueAck} */
  ackOf({ chat, sender, id }, level, wall) {
    const message = { chat, sender, id };
    const key = keyOf(message);
    const isLate = level > 2 && this.acks.taken.get(key) !== 1 && !this.inbox.held.has(key);
    return { message, level, t: Math.trunc(wall), isLate };
  }

  /** Hold a message that came, unless it was held or taken before. @param {Message} message
   * @param {number} size @param {number} wall */
  admit(message, size, wall) {
    return (
      !this.inbox.held.has(keyOf(message)) &&
      !this.acks.repeat(message, Math.trunc(wall)) &&
      this.inbox.hold(message, size)
    );
  }

  /** Hold a message that another tab got. @param {Message} message */
  overhear(message) {
    const { held } = this.inbox;
    if (!held.size) this.inbox.leftBehind = false;
    if (held.has(keyOf(message)) || this.acks.taken.get(keyOf(message))) return;
    if (!this.inbox.hold(message, JSON.stringify(message).length)) this.ignored += 1;
  }

  /** Take one text of the relay; never throws. @param {unknown} text @param {Moment} now
   * @returns {ProtocolEvent[]} */
  receive(text, now) {
    if (this.online) this.acks.heard(now.up);
    if (typeof text === "string" && text.startsWith("!")) return [];
    try {
      return this.#frame(JSON.parse(String(text)), now);
    } catch {
      this.ignored += 1;
      return [];
    }
  }

  /** @param {any} frame @param {Moment} now @returns {ProtocolEvent[]} */
  #frame([tag, body, elements], now) {
    switch (tag) {
      case "auth":
        return this.#onAuth(body);
      case "q":
        return JSON.parse(body.data).slice(1).flatMap((/** @type {any} */ entry) => {
          try {
            return ["action", "Msg", "MsgInfo"].includes(entry[0]) ? this.#frame(entry, now) : [];
          } catch {
            this.ignored += 1;
            return [];
          }
        });
      case "action":
        if (body.add !== "relay") throw new TypeError("another kind of action");
        return elements.flatMap((/** @type {any} */ each) => this.#onElement(each, now));
      case "Msg":
      case "MsgInfo":
        return this.#onAck(body);
      case "error":
        return this.#onError(body, now);
      case "Cmd":
        this.login.notice = body;
    }
    return [];
  }

  /** @param {any} reply @returns {ProtocolEvent[]} */
  #onAuth(reply) {
    if (!this.login.replied(reply)) return [];
    const isAgain = this.#isAgain;
    this.#isAgain = this.inbox.leftBehind = false;
    if (isAgain) return []; // the same connection: its sends are being answered on it
    this.outbox.startAgain();
    this.acks.startAgain();
    return [{ type: "connected" }];
  }

  /** @param {any} element @param {Moment} now @returns {ProtocolEvent[]} */
  #onElement(element, now) {
    try {
      const message = readMessage(element);
      const size = JSON.stringify(element).length;
      return message && this.admit(message, size, now.wall) ? [message] : [];
    } catch {
      this.ignored += 1;
      return [];
    }
  }

  /** @param {any} ack @returns {ProtocolEvent[]} */
  #onAck(ack) {
    const [author, chat, t] = [userName(ack.from), chatName(ack.to), seconds(ack.t)];
    const { id, ack: level } = ack;
    texts(id);
    if (author !== this.user) return [];
    if (level === 1) {
      if (this.outbox.sends.get(id)?.chat !== chat) return [];
      this.outbox.remove(id);
      return [{ type: "sent", id, chat, t }];
    }
    const user = isGroup(chat) ? userName(ack.participant) : chat;
    const key = keyOf({ chat, sender: user, id });
    if (![2, 3, 4].includes(level) || level <= (this.receipts.get(key) ?? 0)) return [];
    this.receipts.put(key, level);
    return [{ type: "receipt", id, chat, user, level, t }];
  }

  /** @param {any} error @param {Moment} now @returns {ProtocolEvent[]} */
  #onError({ code, reason = "", tag = "", id = "", retryAfter = null }, now) {
    texts(reason, tag, id);
    if (typeof code !== "number" || (retryAfter !== null && typeof retryAfter !== "number"))
      throw new TypeError("no error");
    const send = this.outbox.sends.get(id);
    if (!send || (tag && tag !== "action")) return [{ type: "refused", code, reason, tag, id }];
    if (!PASSING_SENDS.includes(code)) return [this.#fail(id, code, reason, retryAfter)];
    const asked = Math.min(positive(retryAfter), MAX_RETRY_AFTER_S);
    const retryIn = asked + backoff(send.tries + 1, this.limits, now.chance);
    this.outbox.delay(id, now.up + retryIn);
    return [{ type: "delayed", id, chat: send.chat, code, reason, retryIn }];
  }

  /** @param {string} id @param {number} code @param {string} reason @param {number} [retryAfter]
   * @returns {Failed} */
  #fail(id, code, reason, retryAfter) {
    const chat = this.outbox.remove(id)?.chat ?? "";
    return { type: "failed", id, chat, code, reason, retryAfter: retryAfter ?? null };
  }
}

// -- I/O ---------------------------------------------------------------------------------------

const LEFT = Symbol("a loop was left");
const MAX_BUFFERED = 1024 * 1024; // of a socket; what is beyond waits here
const OFFER_S = 5; // for a tab's answer; else another one takes its place
const OPENING_S = 5; // for the browser's database; else the page does without

/** @returns {Moment} */
const now = () => ({
  wall: Date.now() / 1000,
  up: performance.now() / 1000,
  chance: Math.random(),
});

const isHidden = () => typeof document === "object" && document.visibilityState === "hidden";

/** @param {number} s */
const ms = (s) => Math.min(Math.max(s, 0) * 1000, 2 ** 31 - 1);

/** When a JWT expires, in seconds since 1970; 0 where it does not say. @param {string} token */
function expiryOf(token) {
  try {
    const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    return positive(JSON.parse(atob(part)).exp);
  } catch {
    return 0;
  }
}

/** What becomes of one message. Each promise is rejected where the message or the client fails. */
export class Sending {
  /** @type {Map<number, {promise: Promise<any>, resolve: Function, reject: Function}>} */
  #levels = new Map();
  #level = 0;
  /** @type {unknown} */
  #event;
  /** @type {Error | null} */
  #error = null;

  /** @internal @param {string} id */
  constructor(id) {
    this.id = id;
  }

  /** Until the relay has stored it (ack 1). @returns {Promise<Sent>} */
  get sent() {
    return this.#at(1);
  }

  /** Until a recipient's client has it. @returns {Promise<Receipt>} */
  get delivered() {
    return this.#at(2);
  }

  /** Until a recipient has read it. @returns {Promise<Receipt>} */
  get read() {
    return this.#at(3);
  }

  /** @param {number} level */
  #at(level) {
    let at = this.#levels.get(level);
    if (!at) {
      const made = /** @type {any} */ ({});
      made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
      made.promise.catch(() => {}); // who does not look does not want to be told
      this.#levels.set(level, (at = made));
      this.settle(this.#level, this.#event, this.#error);
    }
    return /** @type {NonNullable<typeof at>} */ (at).promise;
  }

  /** @internal @param {number} level @param {unknown} event @param {Error | null} [error] */
  settle(level, event, error = null) {
    if (level >= this.#level) [this.#level, this.#event] = [level, event];
    this.#error ??= error;
    for (const [each, { resolve, reject }] of this.#levels)
      if (each <= this.#level) resolve(this.#event);
      else if (this.#error) reject(this.#error);
  }
}

/** What outlives the page: messages without ack 1, and which have been taken. */
class Store {
  #name;
  #remembered;
  /** @type {Promise<IDBDatabase> | null} */
  #database = null;

  /** @param {string} name @param {number} remembered */
  constructor(name, remembered) {
    this.#name = name;
    this.#remembered = Math.min(remembered, 5000);
  }

  #open() {
    return (this.#database ??= new Promise((resolve, reject) => {
      const opening = indexedDB.open(this.#name, 1);
      opening.onupgradeneeded = () => {
        opening.result.createObjectStore("sends", { autoIncrement: true }).createIndex("id", "id");
        opening.result.createObjectStore("taken", { autoIncrement: true });
      };
      opening.onsuccess = () => {
        const { result } = opening;
        // It is being deleted, or the browser has closed it: what comes next opens another.
        result.onversionchange = result.onclose = () => {
          result.close();
          this.#database = null;
        };
        this.#database = Promise.resolve(result); // it may come late
        resolve(result);
      };
      opening.onerror = () => reject(opening.error);
      // As behind a deletion for which another tab makes no way. To chat goes before to keep.
      setTimeout(() => reject(new Error("IndexedDB does not open")), ms(OPENING_S));
    }));
  }

  /**
   * @template T
   * @param {"sends" | "taken"} name
   * @param {(store: IDBObjectStore) => IDBRequest<T> | void} act
   * @returns {Promise<T>}
   */
  async #do(name, act) {
    const transaction = (await this.#open()).transaction(name, "readwrite");
    const request = act(transaction.objectStore(name));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(/** @type {T} */ (request?.result));
      transaction.onabort = () => reject(transaction.error);
    });
  }

  /** @returns {Promise<Waiting[]>} */
  sends() {
    return this.#do("sends", (store) => store.getAll());
  }

  /** @param {Waiting} send */
  put(send) {
    return this.#do("sends", (store) => store.add(send));
  }

  /** @param {string} id */
  forget(id) {
    return this.#do("sends", (store) => {
      store.index("id").getAllKeys(id).onsuccess = (event) => {
        for (const key of /** @type {any} */ (event.target).result) store.delete(key);
      };
    });
  }

  /** @returns {Promise<{message: MessageKey, level: number}[]>} */
  async taken() {
    const keys = await this.#do("taken", (store) => store.getAllKeys());
    const last = keys[keys.length - this.#remembered - 1];
    if (last !== undefined)
      await this.#do("taken", (store) => store.delete(IDBKeyRange.upperBound(last)));
    return this.#do("taken", (store) => store.getAll());
  }

  /** @param {MessageKey} message @param {number} level */
  take({ chat, sender, id }, level) {
    return this.#do("taken", (store) => store.add({ message: { chat, sender, id }, level }));
  }

  /** @returns {Promise<void>} */
  delete() {
    return new Promise((resolve, reject) => {
      const deleting = indexedDB.deleteDatabase(this.#name);
      // Where it is blocked it goes once that other page has gone.
      deleting.onsuccess = deleting.onblocked = () => resolve();
      deleting.onerror = () => reject(deleting.error);
    });
  }
}

/**
 * One user's connection to a relay, made again whenever it is lost.
 *
 *     const client = new RelayClient("ws://127.0.0.1:9011/", "919428284313").connect();
 *     client.on("message", (message) => show(message.sender, message.text));
 *     await client.send("917069852821", "hi").sent;
 *
 * A message is acked once every handler has returned, and its promise is fulfilled; until then it
 * comes again at the next login. Handlers are given one message after the other.
 */
export class RelayClient {
  /** @type {Map<string, Set<(event: any) => unknown>>} */
  #handlers = new Map();
  /** @type {Map<string, Sending>} */
  #sendings = new Map();
  /** This tab's messages without ack 1: another tab may send them. @type {Map<string, Waiting>} */
  #waiting = new Map();
  /** @type {Store | null} */
  #store = null;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @type {Term | null} */
  #term = null; // while this tab has the connection
  /** @type {Promise<unknown>} */
  #ready = Promise.resolve(); // what was typed first is stored, and sent, first
  /** @type {WebSocket | null} */
  #socket = null;
  /** Ends the connection at hand. @type {(ending: Ending) => void} */
  #drop = () => {};
  /** Ends a pause. */
  #wake = () => {};
  #online = false;
  #isPumping = false;
  #isOver = false;
  #isStarted = false;
  #lostAt = 0;
  #saidAt = 0;
  #askedAt = 0; // when a sign of life was asked for; 0: none is awaited
  #wasLate = false; // it was asked for once more
  #confirmAt = Infinity;
  #wantsClock = false;
  #skew = 0; // the relay's clock less this one, in seconds
  #offered = 0;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();
  /** @type {(() => void)[]} */
  #undo = [];
  /** @internal @type {ClientProtocol} */
  protocol;

  /**
   * @param {string | URL} url as "ws://127.0.0.1:9011/"
   * @param {string} user the user to be, in any spelling
   * @param {Options} [options]
   */
  constructor(url, user, options = {}) {
    this.url = new URL(url).href;
    this.options = options;
    this.protocol = new ClientProtocol(user, options.limits);
    this.protocol.login.canRenew = typeof options.token === "function";
    this.user = this.protocol.user;
    /** Why the client has ended. @type {Error | null} */
    this.error = null;
  }

  /** Whether this user is logged in now, by this tab or another. */
  get online() {
    return this.#online;
  }

  /** Messages of this tab that have no ack 1 yet, oldest first. @returns {Waiting[]} */
  get waiting() {
    return [...this.#waiting.values()];
  }

  /**
   * Call `handler` for each event of a type; return what ends that.
   * @template {ClientEvent["type"]} T
   * @param {T} type
   * @param {(event: Extract<ClientEvent, {type: T}>) => unknown} handler
   */
  on(type, handler) {
    const handlers = this.#handlers.get(type) ?? new Set();
    this.#handlers.set(type, handlers.add(handler));
    if (type === "message") this.#pump();
    return () => void handlers.delete(handler);
  }

  /** The messages, for `for await`; one is taken when the loop asks for the next. */
  async *messages() {
    /** @type {Message[]} */
    const came = [];
    let taken = () => {};
    let left = () => {};
    let wake = () => {};
    const off = this.on("message", (message) => {
      came.push(message);
      wake();
      return new Promise((resolve, reject) => {
        taken = () => resolve(undefined);
        left = () => reject(LEFT);
      });
    });
    const end = this.on("end", () => wake());
    try {
      for (;;) {
        const message = came.shift();
        if (message) {
          yield message;
          taken();
          left = () => {};
        } else if (this.error) throw this.error;
        else if (this.#isOver) return;
        else await new Promise((resolve) => (wake = () => resolve(undefined)));
      }
    } finally {
      off();
      end();
      left();
    }
  }

  /** Start connecting, in the background. */
  connect() {
    if (this.#isStarted) return this;
    this.#isStarted = true;
    const { outbox, tabs = typeof document === "object" } = this.options;
    const name = `relay ${this.url} ${this.user}`;
    if (outbox) {
      this.#store = new Store(name, this.protocol.limits.remembered);
      this.#ready = this.#restore();
    }
    for (const type of ["online", "pageshow"]) this.#listen(globalThis, type);
    if (typeof document === "object")
      for (const type of ["visibilitychange", "resume"]) this.#listen(document, type);
    if (tabs && globalThis.navigator?.locks && globalThis.BroadcastChannel) this.#share(name);
    else void this.#lead({ over: false, gathered: false });
    return this;
  }

  /** Close the connection; what has no ack 1 is sent by the next client, if it is stored. */
  close() {
    this.#write();
    this.#end(null);
  }

  /** Close, and delete what the outbox keeps, as at a logout: of that nothing is sent any more. */
  async forget() {
    const store = this.#store;
    this.close();
    this.#store = null;
    await store?.delete();
  }

  /**
   * Send a text, or a message object, to a user or a group. It goes out when there is a connection.
   * Throws what no relay would take.
   * @param {string} to
   * @param {string | Body} message
   * @param {{id?: string}} [options] `id`: to repeat a message safely
   */
  send(to, message, { id = newMessageId() } = {}) {
    const chat = chatName(to);
    const said = typeof message === "string" ? { conversation: message } : message;
    const { frameBytes, unackedSends } = this.protocol.limits;
    const frame = sendFrame(chat, said, id, { wall: now().wall, maxBytes: frameBytes });
    const body = JSON.parse(frame)[2][0].message; // what can be stored, and changes no more
    if (this.#isOver) throw this.#closed();
    this.protocol.outbox.repeats(id, chat, body);
    if (this.#waiting.size >= unackedSends)
      throw new RangeError(`${unackedSends} messages wait for their ack 1`);
    const sending = this.#sendings.get(id) ?? new Sending(id);
    this.#sendings.set(id, sending);
    const waiting = { id, chat, message: body };
    this.#waiting.set(id, waiting);
    if (this.#store) this.#ready = this.#ready.then(() => this.#put(waiting));
    else this.#submit(waiting);
    return sending;
  }

  /** Tell the author that a message has arrived; for `ack: "manual"`. @param {Message} message */
  markDelivered(message) {
    this.#mark(message, 2);
  }

  /** Tell the author that a message was read. @param {Message} message */
  markRead(message) {
    this.#mark(message, 3);
  }

  /** Tell the author that a voice or video message was played. @param {Message} message */
  markPlayed(message) {
    this.#mark(message, 4);
  }

  // What this page does.

  /** @param {Message} message @param {number} level */
  #mark({ chat, sender, id }, level) {
    if (this.#term) return void this.#taken({ chat, sender, id }, level);
    const { acks } = this.protocol;
    const { wall, up } = now();
    const ack = this.protocol.ackOf({ chat, sender, id }, level, wall);
    if (!acks.take(ack, false)) return;
    // The tab that has the connection may be gone; the next one is told again.
    acks.written(ack, up);
    this.#post({ kind: "mark", ...ack });
    this.#ask();
  }

  /** Note what was taken, and have it acked. @param {MessageKey} message @param {number} level */
  async #taken(message, level) {
    const { acks } = this.protocol;
    // First of all, or a page that ends now would show it again.
    if (this.#store && this.#term && level > 1 && (acks.taken.get(keyOf(message)) ?? 0) < 2)
      await this.#store.take(message, level).catch(this.#trouble);
    acks.take(this.protocol.ackOf(message, level, now().wall), !!this.#term);
    this.#write();
  }

  /** @param {Waiting} waiting */
  #submit(waiting) {
    if (this.#term && !this.#term.gathered) return; // it will be, in its order
    if (this.#term) {
      try {
        this.protocol.submit(waiting.chat, waiting.message, waiting.id, now());
      } catch (error) {
        return this.#trouble(error);
      }
      this.#write();
    } else this.#post({ kind: "send", waiting });
    this.#ask();
  }

  /** @param {Waiting} waiting */
  async #put(waiting) {
    await this.#store?.put(waiting).catch(this.#trouble);
    if (!this.#isOver) this.#submit(waiting);
  }

  async #restore() {
    try {
      const store = /** @type {Store} */ (this.#store);
      for (const { message, level } of await store.taken())
        this.protocol.acknowledge(message, level, 0, false);
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Put what an earlier page, or a tab that is gone, has left before what was typed here. */
  async #gather() {
    const left = (await this.#store?.sends().catch(this.#trouble)) ?? [];
    /** @type {[string, Waiting][]} */
    const entries = left.map((each) => [each.id, each]);
    this.#waiting = new Map([...entries, ...this.#waiting]);
  }

  /** @param {unknown} error */
  #trouble = (error) => {
    if (this.#handlers.get("trouble")?.size) this.#call({ type: "trouble", error });
    else console.error("relay-client:", error);
  };

  /** Call the handlers; say how it went. @param {ClientEvent} event
   * @returns {Promise<"well" | "failed" | "left">} */
  async #call(event) {
    const handlers = [...(this.#handlers.get(event.type) ?? [])];
    const done = await Promise.allSettled(handlers.map(async (handler) => handler(event)));
    const failed = done.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
    if (failed.includes(LEFT)) return "left";
    if (event.type !== "trouble") failed.forEach(this.#trouble);
    return failed.length ? "failed" : "well";
  }

  /** Give out the messages that came, one after the other. */
  async #pump() {
    if (this.#isPumping) return;
    this.#isPumping = true;
    const level = this.options.ack === "manual" ? 1 : 2;
    for (let message; (message = this.protocol.nextMessage()); ) {
      if (this.#isOver || !this.#handlers.get("message")?.size) break;
      const done = await this.#call(message);
      if (done === "left") break; // the next loop begins with it
      if (done === "well") await this.#taken(message, level);
      // Else it is not acked, and comes again at the next login.
      this.protocol.inbox.take(message);
      this.#write(); // what was left behind may now be asked for
    }
    this.#isPumping = false;
  }

  /** Take what happened, here or in the tab that has the connection. @param {ProtocolEvent} event
   */
  #happened(event) {
    if (event.type === "message") return void this.#pump();
    if (event.type === "connected" || event.type === "disconnected")
      this.#online = event.type === "connected";
    if (event.type === "sent" || event.type === "failed") {
      this.#waiting.delete(event.id);
      if (this.#term) this.#store?.forget(event.id).catch(this.#trouble);
    }
    const level = { sent: 1, receipt: 2, failed: 0 }[/** @type {string} */ (event.type)];
    if (level !== undefined) {
      const { id } = /** @type {Sent} */ (event);
      const sending = this.#sendings.get(id);
      if (event.type === "failed")
        sending?.settle(0, event, new RelayError("SendRefused", event.reason, event.code));
      else sending?.settle(event.type === "receipt" ? event.level : 1, event);
      if (this.#sendings.size > this.protocol.limits.remembered || level === 0)
        this.#sendings.delete(level ? /** @type {any} */ (this.#sendings.keys().next().value) : id);
    }
    void this.#call(event);
  }

  #closed() {
    return this.error ?? new RelayError("ClientClosed", "the client is closed");
  }

  /** @param {Error | null} error */
  #end(error) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#online = false;
    this.error = error;
    for (const sending of this.#sendings.values()) sending.settle(0, null, this.#closed());
    this.#depose();
    for (const undo of this.#undo.splice(0)) undo();
    if (error && !this.#handlers.get("end")?.size) console.error("relay-client:", error);
    void this.#call({ type: "end", error });
  }

  /** Let go of the connection, if this tab has it. */
  #depose() {
    if (this.#term) this.#term.over = true;
    this.#term = null;
    this.#drop({ code: null, reason: "closed" });
    this.#wake();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#offered = 0;
  }

  /** @param {string} name @param {number} s @param {() => void} act */
  #after(name, s, act) {
    clearTimeout(this.#timers.get(name));
    if (s < Infinity) this.#timers.set(name, setTimeout(act, ms(s)));
  }

  /** Look after the connection when the page wakes up. @param {any} target @param {string} type */
  #listen(target, type) {
    const look = () => {
      if (isHidden()) return;
      const { asked } = this.protocol.login;
      if (now().up >= this.#lostAt + asked) this.#wake();
      if (this.#socket && this.#online) this.#say();
      this.#ask();
    };
    target.addEventListener?.(type, look);
    this.#undo.push(() => target.removeEventListener?.(type, look));
  }

  // The connection.

  /** Have the connection until the term is over. @param {Term} term */
  async #lead(term) {
    this.#term = term;
    const { protocol } = this;
    try {
      this.#ready = this.#ready.then(() => this.#gather());
      await this.#ready;
      if (term.over) return;
      term.gathered = true;
      this.#post({ kind: "lead", online: false });
      for (const each of this.#waiting.values()) this.#submit(each);
      while (!term.over) {
        const ending = (await this.#fetchToken(term)) ?? (await this.#converse(term));
        if (term.over) return;
        this.#lostAt = now().up;
        const shared = ending.code === 4409 && this.#channel;
        // Another tab may have taken over, as it does from one that is frozen.
        if (shared) await new Promise((resolve) => setTimeout(resolve, 300));
        if (term.over) return;
        this.#tell(protocol.connectionLost(ending, now()));
        if (protocol.failure) return await this.#fail(protocol.failure);
        await new Promise((resolve) => {
          this.#wake = () => resolve(undefined);
          this.#after("pause", protocol.login.retryIn, this.#wake);
        });
      }
    } catch (error) {
      this.#end(/** @type {Error} */ (error)); // a fault of this module: better told than hidden
    }
  }

  /** End all tabs, or the next one would log in again at once. @param {RelayError} error */
  async #fail(error) {
    this.#post({ kind: "end", name: error.name, text: error.message, code: error.code });
    this.#end(error);
  }

  /** @param {Term} term @returns {Promise<Ending | null>} */
  async #fetchToken(term) {
    const { token = "" } = this.options;
    const { protocol } = this;
    try {
      const renew = protocol.login.wantsToken;
      const shown = typeof token === "string" ? token : await token({ renew });
      if (!term.over) protocol.setToken(shown);
      return protocol.failure ? { code: null, reason: "no newer token" } : null;
    } catch (error) {
      this.#trouble(error);
      return { code: null, reason: "no token" };
    }
  }

  /** Connect and serve the connection until it ends. @param {Term} term
   * @returns {Promise<Ending>} */
  #converse(term) {
    return new Promise((resolve) => {
      if (term.over) return resolve({ code: null, reason: "closed" });
      const { protocol } = this;
      const Socket = this.options.WebSocket ?? globalThis.WebSocket;
      if (!Socket) throw new TypeError("no WebSocket here: pass one in, as {WebSocket}");
      /** @type {WebSocket} */
      const socket = (this.#socket = new Socket(this.url));
      this.#drop = (ending) => {
        this.#drop = () => {};
        socket.onopen = socket.onmessage = socket.onclose = null;
        this.#socket = null;
        if (ending.code === null) socket.close();
        for (const name of ["login", "life", "renew", "due"]) clearTimeout(this.#timers.get(name));
        resolve(ending);
      };
      this.#after("login", protocol.limits.loginS, () =>
        this.#drop({ code: null, reason: "no answer from the relay" }),
      );
      socket.onopen = () => {
        protocol.connectionOpened(now());
        this.#write();
      };
      socket.onmessage = ({ data }) => this.#heard(data);
      /** @param {{code: number, reason: string}} close */
      const lost = ({ code, reason }) => {
        const told = code !== 1005 && code !== 1006;
        this.#drop({ code: told ? code : null, reason: reason || "connection lost" });
      };
      socket.onclose = lost;
      // The close tells more. Where no connection was had Node 20 tells of none.
      socket.onerror = () =>
        setTimeout(() => socket === this.#socket && lost({ code: 1006, reason: "" }), 100);
    });
  }

  /** @param {unknown} data */
  #heard(data) {
    const { protocol } = this;
    this.#askedAt = 0;
    this.#wasLate = false;
    if (typeof data === "string" && data[0] === "!") {
      this.#skew = Number(data.slice(1)) / 1000 - now().wall;
      if (this.#wantsClock) this.#renewInTime();
      this.#wantsClock = false;
    }
    const was = protocol.online;
    this.#tell(protocol.receive(data, now()));
    if (protocol.login.phase === "ending") return this.#drop({ code: null, reason: "" });
    if (protocol.online && !was) {
      clearTimeout(this.#timers.get("login"));
      this.#renewInTime();
      this.#wantsClock = protocol.login.canRenew;
      if (this.#wantsClock) this.#say(); // its answer has the relay's clock
    }
    this.#write();
    this.#live();
  }

  /** @param {ProtocolEvent[]} events */
  #tell(events) {
    for (const event of events) {
      if (event.type === "receipt")
        this.#confirmAt = Math.min(this.#confirmAt, now().up + this.protocol.limits.confirmS);
      this.#post({ kind: "event", event });
      this.#happened(event);
    }
  }

  #write() {
    const socket = this.#socket;
    if (!this.#term || socket?.readyState !== 1) return;
    for (let frame; (frame = this.protocol.nextFrame(now())) !== null; ) {
      if (socket.bufferedAmount > MAX_BUFFERED) return this.#after("due", 0.05, () => this.#write());
      socket.send(frame);
      this.protocol.frameSent();
      this.#saidAt = now().up;
    }
    const due = this.protocol.online ? this.protocol.outbox.dueIn(now().up) : Infinity;
    if (due < Infinity) this.#after("due", due + 0.01, () => this.#write());
  }

  /** Show that this page lives, and ask the relay to. */
  #say() {
    if (this.#socket?.readyState !== 1) return;
    this.#socket.send(KEEPALIVE);
    this.#saidAt = this.#askedAt = now().up;
    this.#confirmAt = Infinity;
    this.#live();
  }

  /** Say something in time, and give up a connection on which nothing is heard. */
  #live() {
    if (!this.#socket) return;
    const { keepaliveS, answerS } = this.protocol.limits;
    const at = this.#askedAt
      ? this.#askedAt + answerS
      : Math.min(this.#saidAt + keepaliveS, this.#confirmAt);
    this.#after("life", at - now().up, () => {
      // The page stood still: the answer may be here. But a hidden tab is late each time.
      const isLate = !this.#wasLate && now().up > at + answerS;
      this.#wasLate = !!this.#askedAt && isLate;
      if (!this.#askedAt || isLate) this.#say();
      else this.#drop({ code: null, reason: "no sign of life from the relay" });
    });
  }

  /** Log in again with a newer token before this one expires. */
  #renewInTime() {
    const { protocol } = this;
    const expiry = protocol.login.canRenew && protocol.online && expiryOf(protocol.login.token);
    if (!expiry) return;
    const left = expiry - (now().wall + this.#skew);
    this.#after("renew", left - Math.min(60, Math.max(left * 0.2, 1)), async () => {
      const [term, socket] = [this.#term, this.#socket];
      const before = protocol.login.token;
      try {
        const token = await /** @type {Function} */ (this.options.token)({ renew: true });
        if (!term || term.over || socket !== this.#socket || token === before) return;
        protocol.setToken(token);
        protocol.loginAgain();
        this.#write();
      } catch (error) {
        this.#trouble(error);
      }
    });
  }

  // The tabs of one site: one has the connection, and tells the others what happens.

  /** @param {any} message */
  #post(message) {
    this.#channel?.postMessage(message);
  }

  /** @param {string} name */
  #share(name) {
    const channel = (this.#channel = new BroadcastChannel(name));
    channel.onmessage = ({ data }) => {
      try {
        this.#onPost(data);
      } catch (error) {
        this.#trouble(error); // of a tab with another version of this, or another script
      }
    };
    this.#undo.push(() => setTimeout(() => channel.close()));
    this.#stand(name, false);
    const timer = setInterval(() => this.#ask(), 20_000);
    this.#undo.push(() => clearInterval(timer));
  }

  /** Ask for the connection; it is had once no other tab has it. @param {string} name
   * @param {boolean} steal */
  #stand(name, steal) {
    const waiting = new AbortController();
    this.#undo.push(() => waiting.abort());
    const had = async () => {
      if (this.#isOver) return;
      /** @type {Term} */
      const term = { over: false, gathered: false };
      await this.#lead(term);
      if (this.error) await new Promise((resolve) => setTimeout(resolve, 500)); // others hear "end"
    };
    const request = steal
      ? navigator.locks.request(name, { steal }, had)
      : navigator.locks.request(name, { signal: waiting.signal }, had);
    request.catch(() => {
      if (this.#isOver || waiting.signal.aborted) return;
      this.#depose(); // another tab took it
      this.#online = false;
      this.#stand(name, false);
    });
    this.#steal = () => {
      waiting.abort();
      this.#stand(name, true);
    };
    this.#post({ kind: "who" });
  }
  #steal = () => {};

  /** See whether the tab that has the connection lives; where it does not, take its place. */
  #ask() {
    if (!this.#channel || this.#term || this.#offered || isHidden()) return;
    this.#offered = 1;
    this.#post({ kind: "who" });
    this.#after("offer", OFFER_S, () => {
      if (this.#offered && !this.#term && !this.#isOver) this.#steal();
      this.#offered = 0;
    });
  }

  /** @param {any} post */
  #onPost({ kind, event, waiting, message, level, online, name, text, code }) {
    if (this.#isOver) return;
    if (kind === "end") return this.#end(new RelayError(name, text, code));
    if (this.#term) {
      // By a timer: a page that is frozen still gets posts, and would answer them.
      if (kind === "who")
        this.#after("here", 0, () => this.#post({ kind: "here", online: this.#online }));
      if (kind === "send") this.#submit(waiting);
      if (kind === "mark") this.#taken(message, level).catch(this.#trouble);
      return;
    }
    this.protocol.acks.heard(now().up);
    if (kind === "lead" || kind === "here") {
      clearTimeout(this.#timers.get("offer"));
      this.#offered = 0;
      this.#online = online;
      // It may be frozen a moment after it has answered.
      if (this.#waiting.size) this.#after("ask", OFFER_S, () => this.#ask());
      if (kind === "lead") {
        for (const each of this.#waiting.values()) this.#submit(each);
        for (const [ack] of this.protocol.acks.late.entries.values())
          this.#post({ kind: "mark", ...ack });
      }
    } else if (kind === "event") {
      if (event.type === "message") this.protocol.overhear(event);
      this.#happened(event);
    }
  }
}
