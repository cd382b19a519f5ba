// The library: what is indexed, adding and removing, and how jobs go.

import * as api from "./api.js";
import { bytes, called, flagBadges, h, plural, toast, $ } from "./dom.js";

const POLL = 700;
const MANY = 12; // documents, from which on one may look for a name in their list
let timer = null;
let writable = true;
let changed = () => {};
let seenFinished = new Set();

export function whenChanged(callback) { changed = callback; }

export async function open() {
  const view = $("view-documents");
  view.replaceChildren(
    h("div", { id: "adding" }),
    h("section", { id: "jobs", class: "jobs", "aria-label": "Jobs", "aria-live": "polite" }),
    h("section", { id: "library", class: "library", "aria-label": "Documents in the index" }, h("p", { class: "status" }, "Loading…")),
  );
  await Promise.all([list(), poll()]);
}

export function stop() { clearTimeout(timer); timer = null; }

/** A place to drop files on; used here and on the empty search page. */
export function dropZone(compact = false) {
  const input = h("input", { type: "file", multiple: true, class: "visually-hidden", onchange: () => send([...input.files]) });
  const metadata = h("input", { placeholder: "year=2024, team=finance", spellcheck: "false" });
  const bar = h("progress", { max: "1", value: "0", hidden: true, "aria-label": "Upload" });
  const zone = h("div", { class: compact ? "drop compact" : "drop" },
    h("p", { class: "drop-title" }, "Drop files here"),
    h("p", { class: "drop-note" }, "PDF, Office files, pictures, scans and recordings. They stay on this server."),
    h("p", {}, h("button", { type: "button", class: "primary", onclick: () => input.click() }, "Choose files"), input),
    h("label", { class: "quiet" }, "Metadata for all of them ", metadata),
    bar);
  const over = (on) => (event) => { event.preventDefault(); zone.classList.toggle("over", on); };
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => { over(false)(event); send([...event.dataTransfer.files]); });

  async function send(files) {
    if (!files.length) return;
    let values;
    try { values = parseMetadata(metadata.value); } catch (error) { toast(error.message); return; }
    bar.hidden = false;
    try {
      const { job, refused } = await api.upload(files, values, (share) => { bar.value = share; });
      refused.forEach((item) => toast(item.reason));
      toast(`${plural(job.files.length, "file")} received; indexing begins.`, "good");
      if (!document.getElementById("jobs")) location.hash = "#documents";
      else poll();
    } catch (error) {
      toast(error.message);
    } finally {
      bar.hidden = true;
      input.value = "";
    }
  }
  return zone;
}

function parseMetadata(text) {
  const values = {};
  for (const part of text.split(",").map((piece) => piece.trim()).filter(Boolean)) {
    const at = part.indexOf("=");
    if (at < 1) throw new Error(`“${part}” is not key=value`);
    const value = part.slice(at + 1).trim();
    values[part.slice(0, at).trim()] = /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  }
  return values;
}

export async function list() {
  const library = document.getElementById("library");
  if (!library) return;
  try {
    const [status, found] = await Promise.all([api.get("/v1/status"), api.get("/v1/documents", { limit: 1000 })]);
    allowChanges(status.writable);
    const described = found.documents.some((item) => Object.keys(item.metadata).length);
    const columns = ["Document", "Pages", "Size", described && "Metadata", writable && ""].filter((name) => name !== false);
    const rows = found.documents.map((item) => row(item, described));
    const more = found.total > found.documents.length ? h("p", { class: "status" }, `The first ${found.documents.length} of ${found.total.toLocaleString()}.`) : null;
    library.replaceChildren(
      h("header", { class: "library-head" },
        h("h2", {}, `${plural(found.total, "document")}, ${plural(status.pages, "page")}`),
        rows.length > MANY ? finder(found.documents, rows) : null),
      found.total
        ? h("div", { class: "table-wrap" }, h("table", {},
          h("thead", {}, h("tr", {}, ...columns.map((name) => h("th", { scope: "col" }, name)))),
          h("tbody", {}, ...rows)))
        : h("p", { class: "status" }, "Nothing is indexed yet."),
      more ?? "",
      skipped(status.skipped),
    );
  } catch (error) {
    if (error.status !== 401) library.replaceChildren(h("p", { class: "status" }, error.message));
  }
}

/** Adding and removing is offered where this key and this server allow it. */
function allowChanges(allowed) {
  writable = allowed;
  const place = document.getElementById("adding");
  if (!place) return;
  place.hidden = !writable;
  if (writable && !place.children.length) place.append(dropZone());
}

/** Shows the rows whose document has these letters in its name, title or metadata. */
function finder(documents, rows) {
  const words = documents.map((item) => `${item.name} ${item.title} ${Object.entries(item.metadata).flat().join(" ")}`.toLowerCase());
  const box = h("input", {
    type: "search", placeholder: "Find in this list", "aria-label": "Find in this list",
    oninput: () => rows.forEach((item, i) => { item.hidden = !words[i].includes(box.value.trim().toLowerCase()); }),
  });
  return box;
}

function row(document_, described) {
  const metadata = Object.entries(document_.metadata).map(([name, value]) => h("span", { class: "tag" }, `${name}: ${value}`));
  const remove = h("button", {
    type: "button", class: "link danger", "aria-label": `Delete ${document_.name}`,
    onclick: async () => {
      if (!confirm(`Delete “${document_.name}” from the index?`)) return;
      remove.disabled = true;
      try { await api.remove(`/v1/documents/${document_.id}`); poll(); } catch (error) { toast(error.message); remove.disabled = false; }
    },
  }, "Delete");
  return h("tr", {},
    h("td", {}, h("div", { class: "name" },
      h("strong", {}, called(document_)),
      called(document_) !== document_.name ? h("span", { class: "quiet" }, document_.name) : null,
      ...flagBadges(document_.flags))),
    h("td", { class: "number" }, document_.pages.toLocaleString()),
    h("td", { class: "number" }, bytes(document_.bytes)),
    described ? h("td", {}, h("div", { class: "tags" }, ...metadata)) : null,
    writable ? h("td", {}, remove) : null);
}

function skipped(items) {
  if (!items.length) return "";
  return h("details", { class: "skipped" },
    h("summary", {}, `${plural(items.length, "file")} could not be used`),
    h("ul", {}, ...items.map((item) => h("li", {}, h("strong", {}, item.name), ` ${item.reason}`))));
}

const STATES = { queued: "waiting", running: "indexing", done: "done", failed: "failed", cancelled: "cancelled" };

async function poll() {
  stop();
  const place = document.getElementById("jobs");
  if (!place) return;
  let jobs;
  try { jobs = await api.get("/v1/jobs"); } catch { return; }
  const active = jobs.filter((job) => job.state === "queued" || job.state === "running");
  const recent = jobs.filter((job) => !active.includes(job) && Date.now() / 1000 - (job.ended ?? 0) < 600).slice(0, 5);
  const finished = recent.filter((job) => !seenFinished.has(job.id));
  place.replaceChildren(...[...active, ...recent].map(jobRow));
  badge(active.length);
  if (finished.length) {
    finished.forEach((job) => seenFinished.add(job.id));
    await list();
    changed();
  }
  if (active.length) timer = setTimeout(poll, POLL);
}

function jobRow(job) {
  const what = job.kind === "remove" ? "Removing a document"
    : job.files.length === 1 ? job.files[0] : plural(job.files.length, "file");
  const busy = job.state === "running" || job.state === "queued";
  const bar = busy && h("progress", job.pages_total ? { max: job.pages_total, value: job.pages_done, "aria-label": what } : { "aria-label": what });
  const said = job.state === "running" && job.pages_total ? `${job.pages_done} of ${plural(job.pages_total, "page")}`
    : job.state === "done" ? summary(job) : job.result?.reason ?? STATES[job.state];
  const cancel = writable && busy && job.kind !== "remove" && h("button", {
    type: "button", class: "link",
    onclick: async () => { try { await api.act(`/v1/jobs/${job.id}/cancel`); poll(); } catch (error) { toast(error.message); } },
  }, "Cancel");
  const wrong = (job.result?.skipped ?? []).map((item) => h("li", {}, h("strong", {}, item.name), ` ${item.reason}`));
  return h("div", { class: `job ${job.state}` },
    h("span", { class: "what" }, what), h("span", { class: "said" }, said), bar || null, cancel || null,
    wrong.length ? h("ul", { class: "wrong" }, ...wrong) : null);
}

function summary(job) {
  const { documents_added: added = 0, pages_added: pages = 0, pages_removed: removed = 0, unchanged = 0 } = job.result ?? {};
  const parts = [];
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
