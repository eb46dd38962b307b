"use strict";
// Speaks the protocol of every other client. Whatever comes from the server is put into the page as text.

const at = (id) => document.getElementById(id);
const LONG = new Set(["text", "diagnosis"]); // parameters with room for several lines
const SOLVED = 0.99; // the ladder's uppermost rung
const MOST_SHOWN = 1000; // characters of the arguments of a step

let offer = null; // what there is: splits, classes, tools
let socket = null;
let waiting = null; // the one question that is not answered yet
let playing = false;
let seen = null; // the latest observation
const files = new Map(); // path → { text, taken }: as it is here, and as it came from the server

class Lost extends Error {}

// --- the connection: opened when an episode is started, one question at a time

function connected() {
  if (socket && socket.readyState <= WebSocket.OPEN) return socket;
  const address = new URL("ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const mine = new WebSocket(address);
  socket = mine;
  mine.addEventListener("message", (event) => {
    if (mine !== socket || !waiting) return;
    const { resolve } = waiting;
    waiting = null;
    resolve(JSON.parse(event.data));
  });
  mine.addEventListener("close", () => {
    if (mine !== socket) return;
    socket = null;
    if (waiting) {
      const { reject } = waiting;
      waiting = null;
      reject(new Lost());
    } else if (playing) lost();
  });
  return mine;
}

function ask(type, data) {
  return new Promise((resolve, reject) => {
    waiting = { resolve, reject };
    const mine = connected();
    const send = () => mine.send(JSON.stringify({ type, data }));
    if (mine.readyState === WebSocket.OPEN) send();
    else mine.addEventListener("open", send, { once: true });
  });
}

function hangUp() {
  const mine = socket;
  socket = null;
  if (waiting) {
    const { reject } = waiting;
    waiting = null;
    reject(null);
  }
  if (mine) mine.close();
}

// the observation that answers; null if there is none, and then the reader has been told why
async function answered(type, data, about) {
  busy(about);
  tell("");
  try {
    const message = await ask(type, data);
    if (message.type !== "observation") {
      tell(`The server says: ${(message.data && message.data.message) || "something this page does not understand"}`);
      return null;
    }
    return { ...message.data.observation, reward: message.data.reward, done: message.data.done };
  } catch (error) {
    if (error instanceof Lost) lost();
    else if (error) throw error;
    return null;
  } finally {
    busy("");
  }
}

function lost() {
  tell(
    playing
      ? "The connection to the server was lost, and the episode with it. You can start again."
      : "The server cannot be reached, or refuses the connection. You can try again.",
  );
  toStart();
}

// --- what the reader is told

function tell(text) {
  at("notice").textContent = visible(text);
  at("notice").hidden = !text;
}

let clock = 0;
function busy(text) {
  clearInterval(clock);
  at("clock").textContent = "";
  at("said").textContent = text;
  at("main").setAttribute("aria-busy", String(Boolean(text)));
  for (const one of document.querySelectorAll("button.main")) one.setAttribute("aria-disabled", String(Boolean(text)));
  if (text) {
    const since = Date.now();
    clock = setInterval(() => (at("clock").textContent = `${Math.round((Date.now() - since) / 1000)} s`), 1000);
  }
}

// what would move a cursor or turn a line around is shown as its number
function visible(text) {
  return String(text).replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (one) => `⟨U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

function made(tag, properties = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") found.setAttribute(name, value);
    else found[name] = value;
  }
  found.append(...children);
  return found;
}

function option(value, text = value) {
  return made("option", { value, textContent: visible(text) });
}

// --- starting

async function prepare() {
  try {
    const answer = await fetch("tasks?count=0", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    offer = await answer.json();
  } catch {
    return tell("The server does not say what it offers. Reload the page to try again.");
  }
  const atomic = offer.bugs.filter((one) => !one.startsWith("compound_"));
  for (const place of ["asked", "claimed"]) {
    for (const one of atomic) {
      at(place).append(made("label", {}, made("input", { type: "checkbox", value: one }), visible(one)));
    }
  }
  for (const one of offer.splits) at("split").append(option(one.name, `${one.name} (${one.num_tasks})`));
  for (const one of offer.tools) at("tool").append(option(one.name));
  const listed = offer.splits.length > 0;
  at("offer").textContent = listed
    ? "The server has tasks that were prepared ahead; a seed chooses one of them."
    : "The server makes each task from a seed, which takes some seconds.";
  at("way").hidden = at("split-field").hidden = !listed;
  if (!listed) document.querySelector("[name=way][value=seed]").checked = true;
  showWay();
  showTool();
  toStart();
}

const chosen = (name) => document.querySelector(`[name=${name}]:checked`).value;
const checked = (id) => [...at(id).querySelectorAll("input:checked")].map((one) => one.value);

function showWay() {
  const place = chosen("way") === "place";
  at("place-field").hidden = at("place").disabled = !place;
  at("seed-field").hidden = at("asked-field").hidden = at("seed").disabled = place;
  const split = offer.splits[at("split").selectedIndex];
  if (split) at("place").max = split.num_tasks - 1;
}

function toStart() {
  playing = false;
  at("start").hidden = offer === null;
  at("episode").hidden = seen === null;
  over(true);
}

function over(yes) {
  at("episode").classList.toggle("over", yes);
  for (const id of ["alert", "look", "fix"]) at(id).hidden = yes;
}

async function start(event) {
  event.preventDefault();
  if (waiting) return;
  const data = {};
  if (offer.splits.length) data.split = at("split").value;
  if (chosen("way") === "place") data.index = Number(at("place").value);
  else {
    if (at("seed").value !== "") data.seed = Number(at("seed").value);
    const bugs = checked("asked");
    if (bugs.length) data.bugs = bugs;
  }
  const first = await answered("reset", data, "Waiting for the task…");
  if (first === null) return hangUp(); // who plays nothing takes nobody's place
  playing = true;
  if (seen === null || seen.task !== first.task) files.clear(); // who starts the same task again goes on editing
  seen = first;
  at("log").replaceChildren();
  at("fix-form").reset();
  showKind();
  showFiles(files.keys().next().value);
  at("result").hidden = at("start").hidden = true;
  at("episode").hidden = false;
  over(false);
  at("alert-text").textContent = visible(seen.alert);
  at("task").textContent = visible(seen.task);
  at("entrypoint").textContent = visible(seen.entrypoint);
  at("path").placeholder = seen.entrypoint;
  showSteps();
  log("Briefing", "", seen);
  at("alert-title").focus();
}

function showSteps() {
  at("steps").textContent = `${seen.step} of ${seen.budget} steps spent`;
  at("meter").max = seen.budget;
  at("meter").value = seen.step;
}

// --- steps

async function step(action, title, details) {
  const found = await answered("step", action, "Waiting for what comes of it…");
  if (found === null) return;
  seen = found;
  showSteps();
  log(`Step ${seen.step}: ${title}`, details, seen, action.tool);
  if (seen.done) finish();
}

function log(title, details, { text, refused }, tool = "") {
  const lines = visible(text);
  const entry = made(
    "article",
    {},
    made("h3", { textContent: visible(title) }),
    made("pre", { className: tool ? "" : "prose", tabIndex: 0, role: "group", "aria-label": visible(title), textContent: lines }),
  );
  if (refused) entry.firstChild.append(made("span", { className: "refused", textContent: " (refused)" }));
  if (details) entry.firstChild.after(made("p", { className: "quiet", textContent: visible(details).slice(0, MOST_SHOWN) }));
  const sources = refused ? null : readable(tool, text);
  if (sources) {
    const button = made("button", { type: "button", textContent: "Edit it in the fix" });
    button.addEventListener("click", () => take(sources));
    entry.append(button);
  }
  at("log").prepend(entry);
  at("seen").scrollTop = 0;
  entry.scrollIntoView({ block: "nearest" });
}

function finish() {
  playing = false;
  hangUp();
  at("result-title").textContent = seen.reward >= SOLVED ? "Solved" : "Not solved";
  at("reward").textContent = seen.reward.toFixed(3);
  at("spent").textContent = `after ${seen.step} of ${seen.budget} steps`;
  at("verdict").textContent = visible(seen.text);
  at("result").hidden = false;
  toStart();
  at("result-title").focus();
}

function leave() {
  hangUp();
  tell("You left the episode. Nothing of it is kept on the server.");
  toStart();
}

// --- tools, as their schemas say

function showTool() {
  const tool = offer.tools[at("tool").selectedIndex];
  at("tool-about").textContent = visible(tool.description);
  const needed = new Set(tool.parameters.required);
  at("parameters").replaceChildren(
    ...Object.entries(tool.parameters.properties).map(([name, schema]) => field(name, schema, needed.has(name))),
  );
}

function field(name, schema, needed) {
  const list = schema.type === "array";
  const about = `${name}${needed ? "" : " (optional)"}: ${schema.description || ""}${list ? "; one a line" : ""}`;
  let input;
  if (schema.type === "boolean") input = made("select", {}, option("", "by default"), option("true"), option("false"));
  else if (schema.type === "integer" || schema.type === "number") {
    input = made("input", { type: "number", step: schema.type === "integer" ? "1" : "any" });
  } else {
    const long = list || LONG.has(name) || schema.type !== "string";
    input = made("textarea", { rows: long ? 4 : 1, spellcheck: false, autocapitalize: "off" });
    if (!long) {
      input.className = "short";
      input.dataset.short = "yes";
    }
  }
  input.required = needed && !LONG.has(name);
  if (schema.default !== undefined && schema.default !== "") input.placeholder = String(schema.default);
  input.dataset.name = name;
  input.dataset.type = schema.type;
  input.dataset.needed = needed ? "yes" : "";
  return made("label", { className: "field" }, visible(about), input);
}

function valueOf(input) {
  const { value } = input;
  switch (input.dataset.type) {
    case "string":
      return value;
    case "array":
      return value.split("\n").filter((one) => one.trim() !== "");
    default:
      return JSON.parse(value);
  }
}

function useTool(event) {
  event.preventDefault();
  if (waiting) return;
  const args = {};
  for (const input of at("parameters").querySelectorAll("[data-name]")) {
    if (input.value === "" && !input.dataset.needed) continue;
    try {
      args[input.dataset.name] = valueOf(input);
    } catch {
      return tell(`${input.dataset.name} must be JSON.`);
    }
  }
  const tool = at("tool").value;
  const given = Object.keys(args).length > 0;
  const action = { type: "inspect", tool };
  if (given) action.arguments = args;
  step(action, tool, given ? JSON.stringify(args) : "");
}

// --- the fix

// path → text, where an observation holds files whole; null otherwise
function readable(tool, text) {
  if (tool === "view") {
    const head = /^(.+), lines 1 to (\d+) of \2:\n/.exec(text);
    if (!head || / characters\)$/m.test(text)) return null;
    const rows = text.slice(head[0].length).split("\n");
    return new Map([[head[1], rows.map((one) => one.slice(8)).join("\n") + "\n"]]);
  }
  if (tool !== "view_source" || /^\[… \d+ characters left out …\]$/m.test(text)) return null;
  const heads = [...text.matchAll(/^=== (.+) ===\n/gm)];
  if (!heads.length || heads[0].index !== 0) return new Map([[seen.entrypoint, text]]);
  return new Map(
    heads.map((head, index) => {
      const next = heads[index + 1];
      return [head[1], text.slice(head.index + head[0].length, next ? next.index - 1 : text.length)];
    }),
  );
}

function take(sources) {
  for (const [path, text] of sources) {
    const known = files.get(path);
    if (!known || known.text === known.taken) files.set(path, { text, taken: text });
  }
  document.querySelector("[name=kind][value=files]").checked = true;
  showKind();
  showFiles(sources.has(seen.entrypoint) ? seen.entrypoint : [...sources.keys()][0]);
  at("text").focus();
}

function addFile() {
  const path = at("path").value.trim();
  if (!path) return at("path").focus();
  if (!files.has(path)) files.set(path, { text: "", taken: null });
  showFiles(path);
  at("text").focus();
}

function showFiles(path) {
  at("file").replaceChildren(...[...files.keys()].map((one) => option(one)));
  at("editor").hidden = files.size === 0;
  at("path").value = "";
  if (!files.size) return;
  at("file").value = path;
  showFile();
}

function showFile() {
  at("text").value = files.get(at("file").value).text;
  showChanges();
}

const changed = () => [...files].filter(([, one]) => one.text !== one.taken);

function showChanges() {
  const names = changed().map(([path]) => path);
  at("changes").textContent = names.length
    ? `Changed, and handed in whole: ${visible(names.join(", "))}`
    : "Nothing is changed yet.";
  const { text, taken } = files.get(at("file").value);
  at("revert").hidden = text === taken || taken === null;
}

function edited() {
  files.get(at("file").value).text = at("text").value;
  showChanges();
}

function revert() {
  const one = files.get(at("file").value);
  one.text = one.taken;
  showFile();
  at("text").focus();
}

function showKind() {
  for (const kind of ["files", "patch", "copy"]) at(`as-${kind}`).hidden = chosen("kind") !== kind;
}

function handIn(event) {
  event.preventDefault();
  if (waiting) return;
  const action = { type: "fix", bugs: checked("claimed"), diagnosis: at("diagnosis").value };
  const kind = chosen("kind");
  if (kind === "files") {
    if (!changed().length) return tell("No file is changed here. Change one, or hand in the working copy as it is.");
    action.files = Object.fromEntries(changed().map(([path, { text }]) => [path, text]));
  } else if (kind === "patch") {
    if (!at("patch").value.trim()) return tell("There is no diff.");
    action.patch = at("patch").value;
  }
  if (!action.bugs.length) return tell("Say which classes you believe guilty; the claim is part of the fix.");
  step(action, "fix", `claimed: ${action.bugs.join(", ")}`);
}

function keys(event) {
  const form = event.target.form;
  if (event.key !== "Enter" || !form || event.isComposing || event.target.tagName !== "TEXTAREA") return;
  if (event.ctrlKey || event.metaKey || (event.target.dataset.short && !event.shiftKey)) {
    event.preventDefault();
    form.requestSubmit();
  }
}

at("start-form").addEventListener("submit", start);
at("start-form").addEventListener("change", showWay);
at("tool-form").addEventListener("submit", useTool);
at("tool").addEventListener("change", showTool);
at("fix-form").addEventListener("submit", handIn);
at("file").addEventListener("change", showFile);
at("text").addEventListener("input", edited);
at("revert").addEventListener("click", revert);
at("add").addEventListener("click", addFile);
at("path").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault(); // it would hand the fix in
    addFile();
  }
});
at("leave").addEventListener("click", leave);
for (const one of document.querySelectorAll("[name=kind]")) one.addEventListener("change", showKind);
document.addEventListener("keydown", keys);
prepare();
