// How jobs go: those under way, and the last that ended. Rows change in place, so that a button in
// them keeps the focus while its job goes on.

import * as api from "./api.js";
import * as connection from "./connection.js";
import { h, plural, toast, withoutName, $ } from "./dom.js";

const NEAR = 700;   // between two looks where they are shown
const FAR = 3000;
const RECENT = 600; // seconds for which those that ended are shown
const SHOWN = 5;
const STATES = { queued: "waiting", running: "indexing", done: "done", failed: "failed", cancelled: "cancelled" };
const rows = new Map();
const ended = new Set();
let timer = null;
let looks = 0;
let began = false;
let changed = async () => {};

/** Calls back at each look while jobs are under way, with those that have ended since the last one. */
export function whenChanged(callback) { changed = callback; }

/** Forget those of the collection that was shown before. */
export function forget() {
  looks++; // a look under way is at the other collection
  clearTimeout(timer);
  rows.clear();
  ended.clear();
  began = false;
  badge(0);
}

/** Look now, and again as long as a job is under way. */
export async function watch() {
  const mine = ++looks;
  clearTimeout(timer);
  const place = document.getElementById("jobs");
  const again = (pause) => { if (mine === looks) timer = setTimeout(watch, pause); };
  let jobs;
  try { jobs = await api.get("/v1/jobs"); } catch (error) {
    if (error.code !== "unreachable" && error.status !== 401) again(FAR);
    return;
  }
  if (mine !== looks) return;
  const active = jobs.filter(busy);
  const recent = jobs.filter((job) => !busy(job) && Date.now() / 1000 - (job.ended ?? 0) < RECENT).slice(0, SHOWN);
  if (place) show(place, [...active.reverse(), ...recent]);
  badge(active.length);
  const fresh = recent.filter((job) => !ended.has(job.id));
  fresh.forEach((job) => ended.add(job.id));
  if (!began) fresh.length = 0; // they ended before this page was opened
  began = true;
  if (fresh.length) $("told").textContent = fresh.map((job) => `${called(job)}: ${standing(job)}`).join(". ");
  if (fresh.length || active.length) await changed(fresh);
  if (active.length) again(place ? NEAR : FAR);
}

connection.whenBack(watch);

const busy = (job) => job.state === "running" || job.state === "queued";

function show(place, jobs) {
  const shown = jobs.map((job) => {
    const kept = rows.get(job.id);
    const row = kept?.state === job.state ? kept : { state: job.state, ...jobRow(job) };
    rows.set(job.id, row);
    row.update(job);
    return row.element;
  });
  if (shown.length !== place.children.length || shown.some((row, i) => row !== place.children[i])) place.replaceChildren(...shown);
}

function jobRow(job) {
  const what = called(job);
  const bar = busy(job) && h("progress", { "aria-label": what });
  const said = h("span", { class: "said" });
  const cancel = busy(job) && job.kind !== "remove" && h("button", {
    type: "button", class: "link", "aria-label": `Cancel ${what}`,
    onclick: async () => { try { await api.act(`/v1/jobs/${job.id}/cancel`); watch(); } catch (error) { toast(error.message); } },
  }, "Cancel");
  // What became of a single file that could not be read is said beside its name already.
  const skipped = job.state === "failed" && job.files.length === 1 ? [] : job.result?.skipped ?? [];
  const wrong = skipped.map((item) => h("li", {}, h("strong", {}, item.name), ` ${withoutName(item.reason, item.name)}`));
  const element = h("div", { class: `job ${job.state}` },
    h("span", { class: "what" }, what), said, bar || null, cancel || null,
    wrong.length ? h("ul", { class: "wrong" }, ...wrong) : null);
  const update = (now) => {
    said.textContent = standing(now);
    if (!bar) return;
    if (now.state === "queued") { bar.max = 1; bar.value = 0; } else if (now.pages_total) { bar.max = now.pages_total; bar.value = now.pages_done; } else bar.removeAttribute("value");
  };
  return { element, update };
}

const called = (job) => (job.kind === "remove" ? `Removing ${job.files[0] ?? "a document"}`
  : job.files.length === 1 ? job.files[0] : plural(job.files.length, "file"));

/** Where a job stands, in words. */
function standing(job) {
  if (job.state === "done") return summary(job);
  if (job.state === "queued" && job.stage === "wait") return "waiting until another program has written the index";
  if (job.result?.skipped.length > 1 && job.state === "failed") return "none of them could be read";
  if (job.state !== "running") return withoutName(job.result?.reason ?? STATES[job.state], called(job));
  if (job.stage === "inspect") return `looking at file ${job.documents_done} of ${job.documents_total.toLocaleString()}`;
  if (!job.pages_total) return STATES.running;
  const files = job.documents_total > 1 ? `${job.documents_done} of ${plural(job.documents_total, "file")}, ` : "";
  return `${files}${job.pages_done.toLocaleString()} of ${plural(job.pages_total, "page")}`;
}

function summary(job) {
  const { documents_added: added = 0, pages_added: pages = 0, pages_removed: removed = 0, unchanged = 0 } = job.result ?? {};
  const parts = [];
  if (job.kind === "reindex") return `read anew, ${plural(pages, "page")}`;
  if (added) parts.push(`${plural(added, "document")}, ${plural(pages, "page")} added`);
  if (unchanged) parts.push(`${unchanged} there already`);
  if (removed && !added) parts.push(`${plural(removed, "page")} removed`);
  return parts.join("; ") || "done";
}

function badge(count) {
  const place = $("jobs-badge");
  place.hidden = !count;
  place.textContent = String(count);
}
