"use strict";
(() => {
  // Texts of agents and jobs get into the page by textContent alone; the page's policy forbids every other way.
  const MOST = 500;
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const data = read("data");
  const agent = byId("agent"), kind = byId("class"), list = byId("episodes"), detail = byId("trajectory");
  let chunks = null;
  const unpacked = new Map();

  function make(tag, content, name) {
    const one = document.createElement(tag);
    if (name) one.className = name;
    for (const part of Array.isArray(content) ? content : [content]) {
      if (part !== null && part !== undefined) one.append(part);
    }
    return one;
  }

  async function episodeAt(place) {
    if (!unpacked.has(place[0])) {
      chunks = chunks || read("packed");
      const bytes = Uint8Array.from(atob(chunks[place[0]]), (one) => one.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      unpacked.set(place[0], JSON.parse(await new Response(stream).text()));
    }
    return unpacked.get(place[0])[place[1]];
  }

  function filter() {
    const who = Number(agent.value), what = Number(kind.value);
    for (const one of document.querySelectorAll("[data-agent]")) {
      one.hidden = who >= 0 && Number(one.dataset.agent) !== who;
    }
    for (const one of document.querySelectorAll(".panel")) {
      one.hidden = Number(one.dataset.class) !== what;
    }
    for (const one of document.querySelectorAll("[data-classes]")) {
      one.hidden = what >= 0 && !one.dataset.classes.split(" ").includes(String(what));
    }
    const fit = data.episodes.filter((one) => (who < 0 || one[0] === who) && (what < 0 || one[2].includes(what)));
    list.replaceChildren(...fit.slice(0, MOST).map(row));
    byId("found").textContent = fit.length + (fit.length === 1 ? " episode" : " episodes") +
      (fit.length > MOST ? "; the first " + MOST + " are listed: filter by agent or class for the others." : ". Choose a task to open its trajectory.");
  }

  function row(one) {
    const open = make("button", one[1]);
    open.type = "button";
    open.dataset.key = key(one);
    open.setAttribute("aria-label", "Open task " + one[1] + " of " + data.agents[one[0]]);
    open.addEventListener("click", () => { location.hash = key(one); });
    const line = make("tr", [
      make("td", open),
      make("td", data.agents[one[0]]),
      make("td", one[2].map((bug) => data.classes[bug]).join(" + ")),
      make("td", one[3]),
      make("td", one[4], one[7] ? "won" : ""),
      make("td", one[5]),
      make("td", String(one[6])),
    ]);
    if (location.hash === "#" + key(one)) line.className = "chosen";
    return line;
  }

  function key(one) {
    return "episode=" + data.episodes.indexOf(one);
  }

  function block(title, content) {
    const pre = make("pre", content);
    pre.tabIndex = 0;
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", title);
    return pre;
  }

  function folded(title, content) {
    return make("details", [make("summary", title), block(title, content)]);
  }

  function lines(text) {
    const count = text.split("\n").length;
    return count + (count === 1 ? " line" : " lines");
  }

  function plain(value) {
    return typeof value === "string" ? value : JSON.stringify(value, null, 2);
  }

  // One thing that an action or a note says: short ones in a line, long ones folded.
  function said(name, value) {
    const text = plain(value);
    if (text.includes("\n") || text.length > 600) return folded(name + " (" + lines(text) + ")", text);
    return make("p", [make("b", name + ": "), make("code", text)], "said");
  }

  function action(one) {
    const parts = [];
    if (one === null || typeof one !== "object" || Array.isArray(one)) return [said("action", one)];
    for (const [name, value] of Object.entries(one)) {
      if (name === "type" || name === "tool" || value === null || value === "") continue;
      const inside = value !== null && typeof value === "object" && !Array.isArray(value);
      if (Array.isArray(value) && value.every((item) => typeof item === "string")) {
        parts.push(said(name, value.join(", ") || "none"));
      } else if (inside && (name === "files" || name === "arguments")) {
        for (const [inner, content] of Object.entries(value)) parts.push(said(inner, content));
      } else {
        parts.push(said(name, value));
      }
    }
    return parts;
  }

  function step(one, number) {
    const head = [make("span", "Step " + (number + 1)), " ", make("code", one.use)];
    if (one.refused) head.push(" ", make("span", "refused", "tag"));
    const parts = [make("h4", head), ...action(one.action)];
    if (one.note !== null && one.note !== undefined) parts.push(folded("note of the agent", plain(one.note)));
    parts.push(make("p", "Observation", "label"), block("Observation of step " + (number + 1), one.text));
    parts.push(make("p", "Reward " + one.reward + (one.done ? ", the episode is over" : ""), "small"));
    return make("li", parts);
  }

  function verdict(result) {
    const list = make("dl", null, "verdict");
    for (const [name, value] of Object.entries(result)) {
      if (["agent", "task", "bugs", "script"].includes(name) || value === null) continue;
      let text = plain(value);
      if (Array.isArray(value)) text = value.join(", ") || "none";
      else if (typeof value === "object") {
        text = Object.entries(value).map(([inner, of]) => inner + " " + plain(of)).join(", ") || "none";
      }
      list.append(make("div", [make("dt", name.replaceAll("_", " ")), make("dd", text)]));
    }
    return list;
  }

  async function show() {
    const match = /^#episode=(\d+)$/.exec(location.hash);
    const one = match && data.episodes[Number(match[1])];
    for (const line of list.children) {
      line.className = one && line.querySelector("button").dataset.key === key(one) ? "chosen" : "";
    }
    detail.hidden = !one;
    if (!one) return;
    const title = make("h3", one[1] + " \u00b7 " + data.agents[one[0]]);
    title.id = "opened";
    const about = one[2].map((bug) => data.classes[bug]).join(" + ") + " \u00b7 " + one[3];
    const close = make("button", "Close", "close");
    close.type = "button";
    close.addEventListener("click", () => {
      history.replaceState(null, "", location.pathname + location.search);
      show();
      const back = [...list.querySelectorAll("button")].find((button) => button.dataset.key === key(one));
      (back || agent).focus();
    });
    const parts = [close, title, make("p", about, "small")];
    if (one[8] === null) {
      parts.push(make("p", "This page does not hold the trajectory; it lies in the folder of the run."));
    } else {
      try {
        const found = await episodeAt(one[8]);
        if (location.hash !== match[0]) return;
        const settled = Object.keys(found.settings || {}).length;
        if (settled) parts.push(folded("settings of the agent", plain(found.settings)));
        parts.push(make("p", "Briefing", "label"), block("Briefing", found.briefing));
        parts.push(make("ol", found.steps.map(step), "steps"));
        parts.push(make("h4", [make("span", "Verdict"), " ", make("span", one[7] ? "solved" : "not solved", one[7] ? "tag good" : "tag")]));
        parts.push(verdict(found.result));
      } catch (error) {
        parts.push(make("p", "The trajectory cannot be unpacked here (" + error.message + "). A browser of 2023 or later can.", "caution"));
      }
    }
    detail.replaceChildren(...parts);
    detail.focus({ preventScroll: true });
    detail.scrollIntoView({ block: "start" });
  }

  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  agent.addEventListener("change", filter);
  kind.addEventListener("change", filter);
  window.addEventListener("hashchange", show);
  filter();
  show();
})();
