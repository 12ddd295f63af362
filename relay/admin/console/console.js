// The console: what the API says, drawn. No text of anybody's is ever taken for HTML.
"use strict";

const KEEP = 120; // looks that a chart shows
const LEAST = 30; // as wide as so many, while there are fewer
const EVERY_MS = 1000;
const DISK_EVERY_MS = 30_000;
const CLUSTER_EVERY_MS = 2000;
const MOST_AMISS = 12; // lines of what is wrong with a cluster
const TOKEN = "relay.token"; // in this tab's session storage
const $ = (id) => document.getElementById(id);
const enc = encodeURIComponent;

// ---------------------------------------------------------------------------- asking the API

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function ask(path, method = "GET", body = undefined) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(8000),
  });
  const text = await answer.text();
  let said = null;
  try {
    said = text ? JSON.parse(text) : null;
  } catch {
    throw new Refused(answer.status, "the answer is no JSON");
  }
  if (!answer.ok) throw new Refused(answer.status, said?.detail ?? `answered with ${answer.status}`);
  return said;
}

// --------------------------------------------------------------------------------- elements

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "click") element.addEventListener("click", value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.map((each) => (each instanceof Node ? each : String(each))));
  return element;
}

const AMOUNT = /^[\d,.]+( [KMGT]?i?B)?$/;

function table(caption, head, rows) {
  if (!rows.length) return make("p", { class: "quiet" }, `${caption}: none`);
  const numbers = head.map((_, n) => rows.every((row) => AMOUNT.test(row[n])));
  const cell = (name, value, n, more = {}) => make(name, {
    ...more, ...(numbers[n] ? { class: "number" } : {}),
  }, value ?? "-");
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {},
      make("thead", {}, make("tr", {}, ...head.map((h, n) => cell("th", h, n, { scope: "col" })))),
      make("tbody", {}, ...rows.map((row) => make("tr", {},
        ...row.map((value, n) => cell("td", value, n)))))));
}

function list(pairs) {
  return make("dl", {}, ...pairs.flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, value)]));
}

// ------------------------------------------------------------------------------ how it reads

const whole = (n) => (n === null || n === undefined ? "?" : Math.round(n).toLocaleString("en"));
const ms = (n) => (n === null ? "-" : n < 10 ? n.toFixed(1) : Math.round(n).toString());

function size(bytes) {
  if (bytes === null || bytes === undefined) return "?";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

function age(seconds) {
  let left = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
    const count = Math.floor(left / length);
    left %= length;
    if (count || parts.length || unit === "s") parts.push(`${count}${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

const ago = (ms_) => (ms_ ? age(Date.now() / 1000 - ms_ / 1000) : "-");
const when = (us) => new Date(us / 1000).toISOString().slice(11, 23);

// ------------------------------------------------------------------------------------- rates

const add = (numbers) => numbers.reduce((a, b) => a + b, 0);

function grown(was, now, names) {
  if (!was || !Object.keys(was.counters).length || !Object.keys(now.counters).length) return 0;
  return add(names.map((n) => (now.counters[n] ?? 0) - (was.counters[n] ?? 0)));
}

function grownBuckets(was, now, name) {
  const [before, after] = [was?.distributions[name], now.distributions[name]];
  if (!before || !after) return null;
  return { bounds: after.bounds, counts: after.counts.map((c, n) => c - before.counts[n]) };
}

function quantile(buckets, share) {
  const some = buckets.filter(Boolean);
  if (!some.length) return null;
  const counts = some[0].counts.map((_, n) => add(some.map((each) => each.counts[n])));
  let rank = share * add(counts);
  if (!rank) return null;
  let low = 0;
  for (const [n, bound] of some[0].bounds.entries()) {
    if (counts[n] && rank <= counts[n]) return 1000 * (low + ((bound - low) * rank) / counts[n]);
    rank -= counts[n];
    low = bound;
  }
  return 1000 * low;
}

function ratesOf(before, now) {
  const over = Math.max(0.001, now.at_s - before.at_s);
  const earlier = new Map(before.processes.map((each) => [each.pid, each]));
  const rows = now.processes.map((each) => {
    const was = earlier.get(each.pid);
    const isFront = each.role === "front";
    const tells = Object.keys(each.gauges).length > 0;
    const time = grownBuckets(was, each, isFront ? "send_ack_s" : "commit_s");
    const work = (d) => d?.distributions.batch_work?.sum ?? 0;
    return {
      each, isFront, time, tells,
      cpu: was ? (each.cpu_s - was.cpu_s) / over : 0,
      messages: isFront ? grown(was, each, ["direct_messages", "group_messages"]) / over : 0,
      perS: !tells || !was ? null : isFront
        ? grown(was, each, ["direct_messages", "group_messages"]) / over
        : (work(each) - work(was)) / over,
      p99: quantile([time], 0.99),
    };
  });
  const acks = rows.filter((r) => r.isFront).map((r) => r.time);
  const gauge = (role, name) => add(now.processes.filter((p) => p.role === role)
    .map((p) => p.gauges[name] ?? 0));
  return {
    rows,
    messages: add(rows.map((r) => r.messages)),
    sessions: gauge("front", "sessions"),
    entries: gauge("worker", "queue_entries"),
    bytes: gauge("worker", "queue_bytes"),
    oldest: Math.max(0, ...now.processes.map((p) => p.gauges.oldest_entry_s ?? 0)),
    p50: quantile(acks, 0.5),
    p99: quantile(acks, 0.99),
  };
}

// ------------------------------------------------------------------------------------ charts

const CHARTS = [
  ["sessions", "Sessions", (r) => r.sessions, whole, () => ""],
  ["messages", "Messages a second", (r) => r.messages, whole, () => ""],
  ["p50", "Send to ack 1, p50 ms", (r) => r.p50, ms, () => "half take less"],
  ["p99", "Send to ack 1, p99 ms", (r) => r.p99, ms, () => "one in 100 takes longer"],
  ["entries", "Entries that wait", (r) => r.entries, whole,
    (r) => `${size(r.bytes)}${r.oldest ? `, the oldest for ${age(r.oldest)}` : ""}`],
  ["restarts", "Restarts", (r) => add(r.rows.map((row) => row.each.restarts)), whole,
    () => "since the admin came"],
];
const history = new Map(CHARTS.map(([id]) => [id, []]));

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function makeCharts() {
  for (const [id, title] of CHARTS) {
    const drawing = svg("svg", {
      viewBox: "0 0 120 40", preserveAspectRatio: "none", role: "img",
      "aria-label": `${title}: nothing yet`,
    });
    drawing.append(svg("path", {}), svg("polyline", {}));
    $("charts").append(make("figure", { id: `chart-${id}` },
      make("figcaption", {}, title), make("div", { class: "value" }, "-"),
      make("div", { class: "more" }), drawing));
  }
}

function draw(rates) {
  for (const [id, title, value, format, more] of CHARTS) {
    const points = history.get(id);
    points.push(value(rates));
    if (points.length > KEEP) points.shift();
    const figure = $(`chart-${id}`);
    figure.querySelector(".value").textContent = format(points.at(-1));
    figure.querySelector(".more").textContent = more(rates);
    const known = points.filter((p) => p !== null);
    const top = Math.max(1e-9, ...known);
    const span = Math.max(LEAST, points.length) - 1;
    const x = (n) => (120 * (1 - (points.length - 1 - n) / span)).toFixed(1);
    const path = points.flatMap((p, n) =>
      (p === null ? [] : [`${x(n)},${(38 - (34 * p) / top).toFixed(2)}`]));
    figure.querySelector("polyline").setAttribute("points", path.join(" "));
    figure.querySelector("path").setAttribute("d", path.length < 2 ? "" :
      `M${path[0].split(",")[0]},40 L${path.join(" L")} L${path.at(-1).split(",")[0]},40 Z`);
    figure.querySelector("svg").setAttribute("aria-label", known.length
      ? `${title}, last ${points.length} s: from ${format(Math.min(...known))} to ${format(top)}`
      : `${title}: nothing yet`);
  }
}

function showProcesses(rates) {
  const rows = rates.rows.map(({ each, cpu, perS, p99, tells }) => {
    const isChild = each.role === "front" || each.role === "worker";
    const name = isChild ? `${each.role} ${each.index}` : each.role;
    const state = each.state === "T" ? "stopped" : each.standby ? "standby"
      : isChild && !tells ? "silent" : "";
    const number = (text) => make("td", { class: "number" }, text);
    return make("tr", {},
      make("th", { scope: "row" }, name, ...(state ? [" ",
        make("span", { class: state === "standby" ? "quiet" : "bad" }, state)] : [])),
      number(`${Math.round(cpu * 100)}%`), number(perS === null ? "-" : whole(perS)), number(ms(p99)),
      number(tells ? whole(each.gauges.sessions) : "-"), number(size(each.memory_bytes)),
      number(whole(each.restarts)), number(age(each.uptime_s)));
  });
  document.querySelector("#process-table tbody").replaceChildren(...rows);
}

// Who it is, with its host where there are several; a whole host has no number.
const who = (each) => (each.role === "host" ? `host ${each.host}`
  : `${each.role} ${each.index}${each.host ? ` of ${each.host}` : ""}`);
const front = (session) => `${session.front}${session.host ? ` of ${session.host}` : ""}`;

function showSilent(silent) {
  const words = silent.map((s) => `${who(s)}: ${s.reason}`).join("; ");
  $("silent").hidden = !words;
  if ($("silent").textContent !== words) $("silent").textContent = words && `Not asked: ${words}`;
}

// ------------------------------------------------------------------------------------- users

let shownUser = "";
let tracing = 0; // which trace is on; 0 is none
let paths = {}; // of the API's document

function say(where, error) {
  where.replaceChildren(make("p", { class: "bad", role: "alert" }, error.message));
}

function notAsked(said) {
  return said.not_asked.map((each) => make("p", { class: "bad" }, `Not asked: ${who(each)}: ${each.reason}`));
}

async function search() {
  tracing = 0;
  try {
    const said = await ask(`api/v1/users?limit=50&prefix=${enc($("who").value.trim())}`);
    const rows = said.users.map((u) => [
      make("button", { type: "button", class: "link", click: () => showUser(u.jid) }, u.jid),
      u.address, ago(u.since_ms), front(u), u.stage.toLowerCase(),
    ]);
    $("found").replaceChildren(
      table("Connected", ["user", "address", "since", "front", "stage"], rows),
      ...(said.next ? [make("p", { class: "quiet" }, "There are more: type more of the name.")] : []),
      ...notAsked(said));
  } catch (error) { say($("found"), error); }
}

async function showLargest() {
  tracing = 0;
  try {
    const said = await ask("api/v1/mailboxes?limit=20&within_s=5");
    const link = (jid) => make("button", { type: "button", class: "link", click: () => showUser(jid) }, jid);
    $("found").replaceChildren(
      make("h3", {}, "Waits for"),
      table("Waits for", ["user", "messages", "receipts", "size"],
        said.mailboxes.map((m) => [link(m.jid), m.messages, m.receipts, size(m.size)])),
      make("h3", {}, "Waits of, about"),
      table("Waits of", ["user", "messages", "size"],
        said.authors.map((a) => [link(a.jid), a.messages, size(a.size)])),
      ...(said.more ? [make("p", { class: "quiet" }, "The time was up before all were looked at.")] : []),
      ...notAsked(said));
  } catch (error) { say($("found"), error); }
}

async function showUser(jid) {
  if (!jid) return;
  shownUser = jid;
  tracing = 0;
  const place = $("user");
  try {
    const [said, queue] = await Promise.all([
      ask(`api/v1/users/${enc(jid)}`), ask(`api/v1/users/${enc(jid)}/queue?limit=20`),
    ]);
    if (shownUser !== jid) return;
    const waits = `${whole(said.waiting_messages)} messages, ${size(said.waiting_bytes)},`
      + ` ${whole(said.waiting_receipts)} receipts`
      + (said.oldest_ms ? `, the oldest for ${ago(said.oldest_ms)}` : "");
    const connected = said.sessions.length
      ? said.sessions.map((s) => `from ${s.address} for ${ago(s.since_ms)}, front ${front(s)},`
        + ` ${s.stage.toLowerCase()}`).join("; ")
      : said.reads ? "yes; its front could not be asked" : "no";
    place.replaceChildren(
      make("h3", {}, said.jid),
      make("ul", { class: "says" }, ...said.says.map((each) => make("li", {}, each))),
      list([
        ["Connected", connected],
        ["Reads", said.reads.toLowerCase() || "-"],
        ["Waits", waits],
        ["Worker", said.host ? `${said.worker} of ${said.host}` : said.worker],
        ["May wait", `${whole(said.limits.mailbox_entries)} entries,`
          + ` ${size(said.limits.mailbox_bytes)}`],
        ["Of its own, for others", `some ${whole(said.limits.sent_waiting_messages)} of`
          + ` ${whole(said.limits.quota_messages)} messages`],
      ]),
      actions(said.jid, said.has_tokens),
      make("h3", {}, "What waits, by author"),
      table("By author", ["author", "messages", "size"],
        said.authors.map((a) => [a.author, a.messages, size(a.size)])),
      make("h3", {}, "What waits, in order"),
      table("Queue", ["kind", "id", "from", "waits", "size"],
        queue.entries.map((e) => [e.kind, e.id, e.author, ago(e.queued_ms), size(e.size)])),
      make("div", { id: "trace", role: "log", "aria-label": "Trace", "aria-live": "off" }));
    place.focus({ preventScroll: true });
  } catch (error) { say(place, error); }
}

const ACTIONS = [
  ["/api/v1/users/{jid}/kick", "post", "Close its sessions",
    "Close all sessions of %? It may connect again."],
  ["/api/v1/users/{jid}/ban", "put", "Throw out",
    "Throw % out for good? Its sessions are closed, and it may not connect again."],
  ["/api/v1/users/{jid}/ban", "delete", "Let in again", "Let % in again?"],
  ["/api/v1/tokens/revoke", "post", "Revoke its tokens",
    "Revoke all tokens of % that were issued until now? Its sessions are closed, and it may"
    + " connect again with a new one."],
  ["/api/v1/tokens/restore", "post", "Restore its tokens",
    "Have the tokens of % that were revoked count again?"],
];

function actions(jid, hasTokens) {
  const line = make("div", { class: "line" });
  if ("/api/v1/users/{jid}/trace" in paths) {
    line.append(make("button", { type: "button", click: () => trace(jid) }, "Trace for 60 s"));
  }
  line.append(make("button", { type: "button", click: () => showUser(jid) }, "Look again"));
  for (const [path, method, name, question] of ACTIONS) {
    if (!paths[path]?.[method] || (path.includes("/tokens/") && !hasTokens)) continue;
    line.append(make("button", {
      type: "button", class: "danger",
      click: async () => {
        if (!(await isConfirmed(question.replace("%", jid)))) return;
        const body = path.includes("{jid}") ? {} : { user: jid };
        const takesBody = Boolean(paths[path][method].requestBody);
        try {
          const said = await ask(path.slice(1).replace("{jid}", enc(jid)), method.toUpperCase(),
            takesBody ? body : undefined);
          await showUser(jid);
          $("user").prepend(make("p", { class: "good", role: "status" }, `${name}: done`),
            ...(said?.not_asked ? notAsked(said) : []));
        } catch (error) {
          $("user").prepend(make("p", { class: "bad", role: "alert" }, error.message));
        }
      },
    }, name));
  }
  return line;
}

function isConfirmed(question) {
  $("question").textContent = question;
  const dialog = $("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function trace(jid) {
  const mine = Date.now();
  tracing = mine;
  const place = $("trace");
  const body = make("tbody");
  const state = make("p", { class: "quiet" }, "Tracing.");
  place.replaceChildren(make("h3", {}, "Trace"), state,
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Trace" },
      make("table", {}, make("thead", {}, make("tr", {}, ...["time", "process", "what", "", "ids", "peer", "more"]
        .map((h) => make("th", { scope: "col" }, h)))), body)));
  let cursor = "";
  try {
    while (tracing === mine && Date.now() < mine + 60_000 && !document.hidden) {
      const said = await ask(`api/v1/users/${enc(jid)}/trace?cursor=${cursor}`);
      cursor = said.cursor;
      for (const gap of said.gaps) {
        body.append(make("tr", {}, make("td", { colspan: 7, class: "bad" },
          `${when(gap.until_us)} ${who(gap)}: a gap until here: ${gap.reason}`)));
      }
      for (const e of said.events) {
        body.append(make("tr", {}, ...[when(e.at_us), who(e), e.what, e.kind,
          e.ids.slice(0, 3).join(" "), e.peer, e.detail].map((v) => make("td", {}, v))));
      }
      while (body.children.length > 500) body.firstChild.remove();
      await new Promise((resolve) => { setTimeout(resolve, 500); });
    }
    state.textContent = "The trace has ended.";
  } catch (error) { state.textContent = `The trace has ended: ${error.message}`; }
}

// ------------------------------------------------------------------------------------ groups

async function listGroups() {
  try {
    const said = await ask("api/v1/groups");
    const rows = Array.isArray(said) ? said : Object.values(said).find(Array.isArray) ?? [];
    const flat = rows.slice(0, 200).map((row) => (typeof row === "object" ? row : { group: row }));
    const head = Object.keys(flat[0] ?? {});
    $("group-list").replaceChildren(table("Groups", head, flat.map((row) => head.map((name) => {
      const value = row[name];
      return Array.isArray(value) ? `${value.length}: ${value.slice(0, 5).join(", ")}`
        : typeof value === "number" ? value : String(value ?? "-");
    }))));
  } catch (error) { say($("group-list"), error); }
}

// ------------------------------------------------------------------------------------- hosts

function cells(head, ...values) {
  return make("tr", {}, head, ...values.map((value) => (value instanceof Node ? value
    : make("td", typeof value === "number" ? { class: "number" } : {},
      typeof value === "number" ? whole(value) : value || "-"))));
}

const bad = (words) => make("td", {}, make("span", { class: "bad" }, words));

function showCluster(said) {
  const living = said.hosts.filter((each) => each.life === "living").length;
  $("cluster-summary").textContent = `${said.name}, seen by ${said.seen_by}: ${living} of`
    + ` ${said.hosts.length} hosts live, ${said.ranges.length} ranges`
    + (said.moving === null ? "" : `; range ${said.moving} is being moved`)
    + (said.amiss.length ? "" : "; nothing is amiss");
  const words = said.amiss.join("\n");
  $("amiss").hidden = !words;
  if ($("amiss").dataset.said !== words) { // an alert is read out once
    $("amiss").dataset.said = words;
    const more = said.amiss.length - MOST_AMISS;
    $("amiss").replaceChildren(make("ul", {},
      ...said.amiss.slice(0, MOST_AMISS).map((each) => make("li", {}, each)),
      ...(more > 0 ? [make("li", {}, `and ${more} more`)] : [])));
  }
  $("host-table").tBodies[0].replaceChildren(...said.hosts.map((each) => cells(
    make("th", { scope: "row" }, each.name),
    each.life !== "living" ? bad(each.life) : ["full", "isolated"].includes(each.state)
      ? bad(each.state) : each.state || "serves",
    each.address, each.version, each.fronts, each.owns, each.leads, each.lacks)));
  $("range-table").tBodies[0].replaceChildren(...said.ranges.map((each) => cells(
    make("th", { scope: "row" }, each.number),
    each.owner || bad("nobody"),
    each.standbys.map((s) => (s.lacks ? `${s.host} -${whole(s.lacks)}` : s.host)).join(", "),
    each.leader, each.epoch, each.last, make("td", { class: "number" }, `${Math.round(100 * each.fill)}%`))));
}

async function lookAtCluster() {
  if (goes && !document.hidden && paths["/api/v1/cluster"]) {
    $("cluster-section").hidden = false;
    try {
      showCluster(await ask("api/v1/cluster"));
    } catch (error) { $("cluster-summary").textContent = `No answer: ${error.message}`; }
  }
  setTimeout(lookAtCluster, CLUSTER_EVERY_MS);
}

// ------------------------------------------------------------------------------------- going

let before = null;
let goes = false;

function askForToken(reason) {
  goes = false;
  $("inside").hidden = true;
  $("forget").hidden = true;
  $("entrance").hidden = false;
  $("refused").textContent = reason;
  $("state").textContent = "";
  $("summary").textContent = "a token is needed";
  $("token").focus();
}

async function lookAtDisk() {
  if (goes && !document.hidden) {
    try {
      const { disk } = await ask("api/v1/status");
      $("disk").textContent = disk ? `Disk: ${disk.says}.` : "";
    } catch { $("disk").textContent = ""; } // the look beside it says why
  }
  setTimeout(lookAtDisk, DISK_EVERY_MS);
}

async function look() {
  if (!goes) return;
  try {
    if (!document.hidden) {
      const now = await ask("api/v1/figures");
      showSilent(now.not_asked);
      if (before && now.at_s > before.at_s) {
        const rates = ratesOf(before, now);
        draw(rates);
        showProcesses(rates);
      }
      before = now;
      const up = Math.max(0, ...now.processes.map((p) => p.uptime_s));
      $("summary").textContent = `${now.version}${now.host ? ` on host ${now.host}` : ""}, up ${age(up)}`;
      setState("live", "good");
    }
  } catch (error) {
    if (error.status === 401) {
      sessionStorage.removeItem(TOKEN);
      askForToken("That is no token that is known.");
      return;
    }
    setState(`no answer: ${error.message}`, "bad");
  }
  setTimeout(look, EVERY_MS);
}

function setState(words, kind) {
  if ($("state").textContent !== words) {
    $("state").textContent = words;
    $("state").className = kind;
  }
}

async function enter() {
  try {
    paths = (await ask("openapi.json")).paths;
  } catch (error) {
    if (error.status === 401) {
      const had = sessionStorage.getItem(TOKEN);
      sessionStorage.removeItem(TOKEN);
      askForToken(had ? "That is no token that is known." : "");
    } else {
      setState(`no answer: ${error.message}`, "bad");
      setTimeout(enter, 2000);
    }
    return;
  }
  $("entrance").hidden = true;
  $("inside").hidden = false;
  $("forget").hidden = !sessionStorage.getItem(TOKEN);
  $("group-section").hidden = !paths["/api/v1/groups"]?.get;
  if (!goes) {
    goes = true;
    look();
  }
}

function takeToken() {
  // `relay console` hands it over behind the #, which no server ever sees.
  const handed = location.hash.match(/^#token=([\w-]{32,})$/);
  if (handed) {
    sessionStorage.setItem(TOKEN, handed[1]);
    window.history.replaceState(null, "", location.pathname);
  }
}

$("entrance").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  $("token").value = "";
  enter();
});
$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  before = null;
  askForToken("");
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
$("show").addEventListener("click", () => showUser($("who").value.trim()));
$("largest").addEventListener("click", showLargest);
$("list-groups").addEventListener("click", listGroups);

takeToken();
makeCharts();
enter().then(() => {
  lookAtDisk();
  lookAtCluster();
});
