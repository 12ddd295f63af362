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
export type Waiting = {
    id: string;
    chat: string;
    message: Body;
};
export type TokenRequest = {
    renew: boolean;
};
export type Token = string | ((request: TokenRequest) => string | Promise<string>);
export type Options = {
    /**
     * what the relay wants to see, or what fetches it
     */
    token?: Token;
    /**
     * "manual": nothing is acked before `markDelivered` or `markRead`
     */
    ack?: AckMode;
    /**
     * keep messages in IndexedDB until their ack 1
     */
    outbox?: boolean;
    /**
     * share one connection with the site's other tabs; as a rule yes, where
     * the browser can
     */
    tabs?: boolean;
    limits?: Partial<Limits>;
    /**
     * where there is none, as in Node 20
     */
    WebSocket?: new (url: string) => any;
};
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
/** Return a message id: `3EB0`, the second, 48 random bits. Those of one time sort together. */
export declare function newMessageId(): string;
export type Ending = {
    code: number | null;
    reason: string;
};
export type Moment = {
    wall: number;
    up: number;
    chance: number;
};
export type Term = {
    over: boolean;
    gathered: boolean;
};
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
export type Refusal = {
    code: number;
    reason: string;
    retryAfter?: number;
} | null;
export type Send = {
    chat: string;
    message: Body;
    frame: string;
    seq: number;
    tries: number;
};
/** What becomes of one message. Each promise is rejected where the message or the client fails. */
export declare class Sending {
    #private;
    id: string;
    /** Until the relay has stored it (ack 1). @returns {Promise<Sent>} */
    get sent(): Promise<Sent>;
    /** Until a recipient's client has it. @returns {Promise<Receipt>} */
    get delivered(): Promise<Receipt>;
    /** Until a recipient has read it. @returns {Promise<Receipt>} */
    get read(): Promise<Receipt>;
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
    options: Options;
    user: string;
    /** Why the client has ended. @type {Error | null} */
    error: Error | null;
    /**
     * @param {string | URL} url as "ws://127.0.0.1:9011/"
     * @param {string} user the user to be, in any spelling
     * @param {Options} [options]
     */
    constructor(url: string | URL, user: string, options?: Options);
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
