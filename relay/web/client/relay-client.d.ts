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
 * @typedef {{code: number | null, reason: string}} Ending how a connection ended; `code` is null
 *   where the relay closed with none
 * @typedef {{wall: number, up: number, chance: number}} Moment seconds since 1970, seconds of any
 *   clock that is never set, and a number in [0, 1)
 * @typedef {{id: string, chat: string, message: Body}} Waiting a message without ack 1
 * @typedef {{over: boolean, gathered: boolean}} Term a time in which one tab has the connection
 * @typedef {{renew: boolean}} TokenRequest `renew`: the last token has expired, or soon will
 * @typedef {string | ((request: TokenRequest) => string | Promise<string>)} Token
 */
export type AckMode = "auto" | "manual";
export type Body = Record<string, unknown>;
export type Message = {
    type: "message";
    id: string;
    chat: string;
    sender: string;
    body: Body;
    t: number;
    text: string;
    isGroup: boolean;
};
export type Sent = {
    type: "sent";
    id: string;
    chat: string;
    t: number;
};
export type Receipt = {
    type: "receipt";
    id: string;
    chat: string;
    user: string;
    level: number;
    t: number;
};
export type Failed = {
    type: "failed";
    id: string;
    chat: string;
    code: number;
    reason: string;
    retryAfter: number | null;
};
export type Delayed = {
    type: "delayed";
    id: string;
    chat: string;
    code: number;
    reason: string;
    retryIn: number;
};
export type Connected = {
    type: "connected";
};
export type Disconnected = {
    type: "disconnected";
    code: number | null;
    reason: string;
    retryIn: number;
};
export type Refused = {
    type: "refused";
    code: number;
    reason: string;
    tag: string;
    id: string;
};
export type ProtocolEvent = Message | Sent | Receipt | Failed | Delayed | Connected | Disconnected | Refused;
export type Ended = {
    type: "end";
    error: Error | null;
};
export type Trouble = {
    type: "trouble";
    error: unknown;
};
export type ClientEvent = ProtocolEvent | Ended | Trouble;
export type Ending = {
    code: number | null;
    reason: string;
};
export type Moment = {
    wall: number;
    up: number;
    chance: number;
};
export type Waiting = {
    id: string;
    chat: string;
    message: Body;
};
export type Term = {
    over: boolean;
    gathered: boolean;
};
export type TokenRequest = {
    renew: boolean;
};
export type Token = string | ((request: TokenRequest) => string | Promise<string>);
/** Bounds of one client, and its pace. Times are in seconds. */
export declare const LIMITS: Readonly<{
    unackedSends: 10000;
    heldMessages: 10000;
    heldBytes: number;
    remembered: 20000;
    frameBytes: number;
    keepaliveS: 20;
    confirmS: 2.5;
    answerS: 10;
    loginS: 15;
    reconnectMinS: 0.5;
    reconnectMaxS: 30;
}>;
export type Limits = {
    -readonly [K in keyof typeof LIMITS]: number;
};
/** What ends the client, or one message, for a reason outside the page. */
export declare class RelayError extends Error {
    /** of docs/protocol.md, section 5, or a close code; 0 where there is none */
    code: number;
    /** whether the same message under the same id may be taken later */
    retryable: boolean;
    /** @param {string} name @param {string} text @param {number} [code] */
    constructor(name: string, text: string, code?: number);
}
/**
 * Return the local part of a user's address in any spelling (R11).
 * @param {unknown} text
 */
export declare function userName(text: unknown): string;
/**
 * Return the one spelling of a chat that events have: a user's local part, or a group's jid.
 * @param {unknown} text
 */
export declare function chatName(text: unknown): string;
/** Return a message id of the customary form; 64 random bits. */
export declare function newMessageId(): string;
/**
 * The newest `limit` entries that were put in.
 * @template V
 */
declare class Memory<V> {
    limit: number;
    /** @type {Map<string, V>} */
    entries: Map<string, V>;
    /** @param {number} limit */
    constructor(limit: number);
    /** @param {string} key @param {V} value */
    put(key: string, value: V): void;
    /** @param {string} key */
    get(key: string): V | undefined;
}
export type MessageKey = {
    chat: string;
    sender: string;
    id: string;
};
export type DueAck = {
    message: MessageKey;
    level: number;
    t: number;
    isLate: boolean;
};
/** @typedef {{chat: string, sender: string, id: string}} MessageKey */
/** @typedef {{message: MessageKey, level: number, t: number, isLate: boolean}} DueAck `isLate`: the
 * message does not come again, so that the ack may not be lost with the connection */
/** What the page has taken, and the acks that are due. Level 1: shown, and not acked yet. */
declare class Acks {
    /** @type {Memory<number>} */
    taken: Memory<number>;
    /** @type {Memory<DueAck>} */
    due: Memory<DueAck>;
    /** Late acks that were written lately, the oldest first. @type {Memory<[DueAck, number]>} */
    late: Memory<[DueAck, number]>;
    /** @param {number} remembered */
    constructor(remembered: number);
    /** Return whether the level has risen. @param {DueAck} ack @param {boolean} isDue */
    take(ack: DueAck, isDue?: boolean): boolean;
    /** Note that an ack was written; one that rose meanwhile stays due. @param {DueAck} ack
     * @param {number} up */
    written(ack: DueAck, up: number): void;
    /** Something was heard on the same connection: what was written long before has arrived. @param {number} up */
    heard(up: number): void;
    /** Have those late acks written again that may be lost. */
    startAgain(): void;
    /** Return whether this message was taken before; it is acked again. @param {MessageKey} message
     * @param {number} t */
    repeat(message: MessageKey, t: number): boolean;
}
/** Messages that the page has not taken yet. Those beyond the bounds are left at the relay. */
declare class Inbox {
    limits: Limits;
    leftBehind: boolean;
    bytes: number;
    /** @type {Map<string, {message: Message, size: number}>} */
    held: Map<string, {
        message: Message;
        size: number;
    }>;
    /** @param {Limits} limits */
    constructor(limits: Limits);
    /** @param {Message} message @param {number} size */
    hold(message: Message, size: number): boolean;
    /** @param {MessageKey} message */
    take(message: MessageKey): void;
}
export type Send = {
    chat: string;
    message: Body;
    frame: string;
    seq: number;
    tries: number;
};
/** @typedef {{chat: string, message: Body, frame: string, seq: number, tries: number}} Send */
/** Sends without an answer, in the order of their calls. Each connection is told them anew. */
declare class Outbox {
    seq: number;
    /** @type {Map<string, Send>} */
    sends: Map<string, Send>;
    /** Those of chats that wait are not among them. @type {Set<string>} */
    unwritten: Set<string>;
    /** Chats whose sends wait, so that they keep their order: which, and until when.
     * @type {Map<string, {until: number, ids: string[]}>} */
    holds: Map<string, {
        until: number;
        ids: string[];
    }>;
    /** When to look at them; never later than the first may be told more. */
    dueAt: number;
    /** Whether exactly this send is under way. @param {string} id @param {string} chat
     * @param {Body} message */
    repeats(id: string, chat: string, message: Body): boolean;
    /** @param {string} id @param {string} chat @param {Body} message @param {string} frame */
    add(id: string, chat: string, message: Body, frame: string): void;
    startAgain(): void;
    /** @param {number} up @returns {string | undefined} */
    next(up: number): string | undefined;
    /** @param {string} id */
    remove(id: string): Send | undefined;
    /** Send it again at `until`, before all that its chat has not been told yet.
     * @param {string} id @param {number} until */
    delay(id: string, until: number): void;
    /** When the next held chat may be told more; Infinity where none waits. @param {number} up */
    dueIn(up: number): number;
    largest(): string;
}
/** Which phase the connection is in, and what follows when it is lost. */
declare class Login {
    limits: Limits;
    /** @type {"offline" | "logging in" | "online" | "ending"} */
    phase: "offline" | "logging in" | "online" | "ending";
    requestDue: boolean;
    /** @type {RelayError | null} */
    failure: RelayError | null;
    retryIn: number;
    asked: number;
    attempt: number;
    openedAt: number;
    token: string;
    canRenew: boolean;
    wantsToken: boolean;
    hasRenewed: boolean;
    /** @type {{code: number, reason: string, retryAfter?: number} | null} */
    refusal: {
        code: number;
        reason: string;
        retryAfter?: number;
    } | null;
    /** @type {{kind?: string, retryAfter?: number} | null} */
    notice: {
        kind?: string;
        retryAfter?: number;
    } | null;
    /** @param {Limits} limits */
    constructor(limits: Limits);
    request(): void;
    /** Take the answer; return whether it is a success that was awaited. @param {any} reply */
    replied(reply: any): boolean;
    /** @param {Ending} ending @param {Moment} now @returns {Disconnected | null} */
    lost({ code, reason }: Ending, now: Moment): Disconnected | null;
    /**
     * @param {number | null} code @param {string} reason
     * @param {Login["refusal"]} refusal @param {Login["notice"]} notice
     */
    final(code: number | null, reason: string, refusal: Login["refusal"], notice: Login["notice"]): RelayError | null;
}
/**
 * One user's side of the protocol, over any number of connections, without I/O.
 *
 * The caller reports `connectionOpened`, `receive` for every frame and `connectionLost`; it writes
 * `nextFrame` while there is one, and says `frameSent` after each. A message stays `nextMessage`
 * until it is acknowledged. Once `failure` is set nothing more is to be done.
 */
export declare class ClientProtocol {
    #private;
    user: string;
    /** @type {Limits} */
    limits: Limits;
    login: Login;
    outbox: Outbox;
    acks: Acks;
    inbox: Inbox;
    /** @type {Memory<number>} */
    receipts: Memory<number>;
    /** Frames, and messages in them, that made no sense. */
    ignored: number;
    /** @param {string} user @param {Partial<Limits>} [limits] */
    constructor(user: string, limits?: Partial<Limits>);
    get online(): boolean;
    get failure(): RelayError | null;
    /** Show this token from here on. One that was refused is no renewal: the client has failed.
     * @param {string} token */
    setToken(token: string): void;
    /** @param {Moment} now */
    connectionOpened(now: Moment): void;
    /** Log in again on a connection that is online: with a newer token, or to have all sent again. */
    loginAgain(): void;
    /** @param {Ending} ending @param {Moment} now @returns {ProtocolEvent[]} */
    connectionLost(ending: Ending, now: Moment): ProtocolEvent[];
    /** The frame to be written now, or null. @param {Moment} now @returns {string | null} */
    nextFrame(now: Moment): string | null;
    frameSent(): void;
    /**
     * Take over a message; it is told to this and each later connection until it is answered.
     * A repeat of one that is under way changes nothing.
     * @param {string} to @param {Body} message @param {string} id @param {Moment} now
     */
    submit(to: string, message: Body, id: string, now: Moment): void;
    /** @returns {Message | undefined} */
    nextMessage(): Message | undefined;
    /** Note that the page has taken a message: shown (1), delivered (2), read (3), played (4).
     * @param {MessageKey} message @param {number} level @param {number} wall
     * @param {boolean} [isDue] */
    acknowledge(message: MessageKey, level: number, wall: number, isDue?: boolean): void;
    /** @param {MessageKey} message @param {number} level @param {number} wall @returns {DueAck} */
    ackOf({ chat, sender, id }: MessageKey, level: number, wall: number): DueAck;
    /** Hold a message that came, unless it was held or taken before. @param {Message} message
     * @param {number} size @param {number} wall */
    admit(message: Message, size: number, wall: number): boolean;
    /** Hold a message that another tab got. @param {Message} message */
    overhear(message: Message): void;
    /** Take one text of the relay; never throws. @param {unknown} text @param {Moment} now
     * @returns {ProtocolEvent[]} */
    receive(text: unknown, now: Moment): ProtocolEvent[];
}
/** What becomes of one message. Each promise is rejected where the message or the client fails. */
export declare class Sending {
    #private;
    id: string;
    /** @param {string} id */
    constructor(id: string);
    /** Until the relay has stored it (ack 1). @returns {Promise<Sent>} */
    get sent(): Promise<Sent>;
    /** Until a recipient's client has it. @returns {Promise<Receipt>} */
    get delivered(): Promise<Receipt>;
    /** Until a recipient has read it. @returns {Promise<Receipt>} */
    get read(): Promise<Receipt>;
    /** @param {number} level @param {unknown} event @param {Error | null} [error] */
    settle(level: number, event: unknown, error?: Error | null): void;
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
export declare class RelayClient {
    #private;
    url: string;
    options: {
        token?: Token;
        ack?: AckMode;
        outbox?: boolean;
        tabs?: boolean;
        limits?: Partial<Limits>;
        WebSocket?: new (url: string) => any;
    };
    protocol: ClientProtocol;
    user: string;
    /** Why the client has ended. @type {Error | null} */
    error: Error | null;
    /**
     * @param {string | URL} url as "ws://127.0.0.1:9011/"
     * @param {string} user the user to be, in any spelling
     * @param {object} [options]
     * @param {Token} [options.token] what the relay wants to see, or what fetches it
     * @param {AckMode} [options.ack] "manual": nothing is acked before `markDelivered` or `markRead`
     * @param {boolean} [options.outbox] keep messages in IndexedDB until their ack 1
     * @param {boolean} [options.tabs] share one connection with the site's other tabs; as a rule
     *   yes, where the browser can
     * @param {Partial<Limits>} [options.limits]
     * @param {new (url: string) => any} [options.WebSocket] where there is none, as in Node 20
     */
    constructor(url: string | URL, user: string, options?: {
        token?: Token;
        ack?: AckMode;
        outbox?: boolean;
        tabs?: boolean;
        limits?: Partial<Limits>;
        WebSocket?: new (url: string) => any;
    });
    /** Whether this user is logged in now, by this tab or another. */
    get online(): boolean;
    /** Messages of this tab that have no ack 1 yet, oldest first. @returns {Waiting[]} */
    get waiting(): Waiting[];
    /**
     * Call `handler` for each event of a type; return what ends that.
     * @template {ClientEvent["type"]} T
     * @param {T} type
     * @param {(event: Extract<ClientEvent, {type: T}>) => unknown} handler
     */
    on<T extends ClientEvent["type"]>(type: T, handler: (event: Extract<ClientEvent, {
        type: T;
    }>) => unknown): () => undefined;
    /** The messages, for `for await`; one is taken when the loop asks for the next. */
    messages(): AsyncGenerator<Message, void, unknown>;
    /** Start connecting, in the background. */
    connect(): this;
    /** Close the connection; what has no ack 1 is sent by the next client, if it is stored. */
    close(): void;
    /** Close, and delete what the outbox keeps, as at a logout: of that nothing is sent any more. */
    forget(): Promise<void>;
    /**
     * Send a text, or a message object, to a user or a group. It goes out when there is a connection.
     * Throws what no relay would take.
     * @param {string} to
     * @param {string | Body} message
     * @param {{id?: string}} [options] `id`: to repeat a message safely
     */
    send(to: string, message: string | Body, { id }?: {
        id?: string;
    }): Sending;
    /** Tell the author that a message has arrived; for `ack: "manual"`. @param {Message} message */
    markDelivered(message: Message): void;
    /** Tell the author that a message was read. @param {Message} message */
    markRead(message: Message): void;
    /** Tell the author that a voice or video message was played. @param {Message} message */
    markPlayed(message: Message): void;
}
export {};
