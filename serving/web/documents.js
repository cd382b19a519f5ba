// The library: what is indexed, finding and removing.

import * as api from "./api.js";
import * as connection from "./connection.js";
import { bytes, called, flagBadges, h, plural, toast, withoutName, $ } from "./dom.js";
import * as jobs from "./jobs.js";
import { dropZone } from "./upload.js";

const MANY = 12;      // documents, from which on one may look for a name in their list
const LISTED = 1000;
const LOOK = 4000;    // between two looks for what has become searchable while a job goes on
let library = null;   // the parts of the list that is shown
let looked = 0;

export async function open() {
  library = makeLibrary();
  $("view-documents").replaceChildren(
    h("div", { id: "adding" }),
    h("section", { id: "jobs", class: "jobs", "aria-label": "Jobs" }),
    library.element,
  );
  await Promise.all([list(), jobs.watch()]);
}

export function close() {
  library = null;
  $("view-documents").replaceChildren();
}

/** Jobs go on or have ended: what they made searchable is listed too. */
export async function refresh(ended) {
  if (!library) return;
  if (ended.length || Date.now() - looked > LOOK) await list();
  if (ended.some((job) => job.kind === "remove" && job.state !== "done")) {
    library?.body.querySelectorAll("button:disabled").forEach((button) => { button.disabled = false; });
  }
}

connection.whenBack(list);

function makeLibrary() {
  const box = h("input", {
    type: "search", placeholder: "Find in this list", "aria-label": "Find in this list", hidden: true, oninput: () => find(),
  });
  const title = h("h2", {});
  const head = h("tr", {});
  const body = h("tbody", {});
  const table = h("div", { class: "table-wrap", hidden: true }, h("table", {}, h("thead", {}, head), body));
  const note = h("p", { class: "status" }, "Loading…");
  const more = h("div", {});
  const element = h("section", { id: "library", class: "library", "aria-label": "Documents in the index" },
    h("header", { class: "library-head" }, title, box), table, note, more);
  return { element, box, title, head, body, table, note, more, shape: "", generation: null, rows: new Map() };
}

async function list() {
  const mine = library;
  if (!mine) return;
  looked = Date.now();
  let status, found;
  try {
    status = await api.get("/v1/status");
    if (status.generation === mine.generation) return;
    found = await api.get("/v1/documents", { limit: LISTED });
  } catch (error) {
    // What is listed stays: a server that is away for a moment is no reason to lose it.
    if (mine.generation === null && error.status !== 401) mine.note.textContent = error.message;
    return;
  }
  if (mine !== library) return;
  mine.generation = status.generation;
  fill(mine, status, found);
}

function fill({ title, head, body, table, note, more, box, ...kept }, status, found) {
  allowChanges(status.writable);
  document.querySelector("#adding .drop")?.classList.toggle("slim", found.total > 0);
  const described = found.documents.some((item) => Object.keys(item.metadata).length);
  const columns = ["Document", "Pages", "Size", described && "Metadata", status.writable && ""].filter((name) => name !== false);
  head.replaceChildren(...columns.map((name) => h("th", { scope: "col" }, name)));
  title.textContent = `${plural(found.total, "document")}, ${plural(status.pages, "page")}`;
  const there = new Set(found.documents.map((item) => item.id));
  for (const id of kept.rows.keys()) if (!there.has(id)) kept.rows.delete(id);
  const rows = found.documents.map((item) => {
    const content = JSON.stringify([item, described, status.writable]);
    const known = kept.rows.get(item.id);
    const made = known?.content === content ? known : { content, element: row(item, described, status.writable), words: words(item) };
    kept.rows.set(item.id, made);
    return made.element;
  });
  put(body, rows);
  table.hidden = !found.total;
  box.hidden = rows.length <= MANY;
  note.textContent = !found.total ? "Nothing is indexed yet."
    : found.total > rows.length ? `The first ${rows.length.toLocaleString()} of ${found.total.toLocaleString()}.` : "";
  more.replaceChildren(skipped(status.skipped));
  find();
}

/** Make `wanted` the children; those that stay are not moved, so that the focus stays in them. */
function put(parent, wanted) {
  const stay = new Set(wanted);
  for (const child of [...parent.children]) if (!stay.has(child)) child.remove();
  wanted.forEach((child, i) => { if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null); });
}

/** Adding and removing is offered where this key and this server allow it. */
function allowChanges(allowed) {
  const place = document.getElementById("adding");
  place.hidden = !allowed;
  if (allowed && !place.children.length) place.append(dropZone());
}

const words = (item) => `${item.name} ${item.title} ${Object.entries(item.metadata).flat().join(" ")}`.toLowerCase();

/** Shows the rows whose document has these letters in its name, title or metadata. */
function find() {
  const wanted = library.box.value.trim().toLowerCase();
  for (const { element, words: held } of library.rows.values()) element.hidden = !library.box.hidden && !held.includes(wanted);
}

function row(document_, described, writable) {
  const metadata = Object.entries(document_.metadata).map(([name, value]) => h("span", { class: "tag" }, `${name}: ${value}`));
  const remove = h("button", {
    type: "button", class: "link danger", "aria-label": `Delete ${document_.name}`,
    onclick: async () => {
      if (!confirm(`Delete “${document_.name}” from the index?`)) return;
      remove.disabled = true;
      try { await api.remove(`/v1/documents/${document_.id}`); jobs.watch(); } catch (error) { toast(error.message); remove.disabled = false; }
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
    h("ul", {}, ...items.map((item) => h("li", {}, h("strong", {}, item.name), ` ${withoutName(item.reason, item.name)}`))));
}
