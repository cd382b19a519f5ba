// Views, keyboard, key and theme.

import * as api from "./api.js";
import * as connection from "./connection.js";
import * as documents from "./documents.js";
import { called, h, icon, plural, toast, $ } from "./dom.js";
import * as jobs from "./jobs.js";
import * as review from "./review.js";
import * as search from "./search.js";
import { dropZone } from "./upload.js";
import * as viewer from "./viewer.js";

const VIEWS = { search: null, documents, review };

function view() { return location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "search"; }

/** Show the view that the address names; what it holds comes later. The question is ready at once:
 * what is typed before the server has answered must not be lost. */
function reveal() {
  const name = view();
  const already = !$(`view-${name}`).hidden;
  for (const other of Object.keys(VIEWS)) $(`view-${other}`).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name === "search" && !already) $("question").focus({ preventScroll: true });
  return name;
}

async function show() {
  const name = reveal();
  documents.close();
  if (VIEWS[name]) await VIEWS[name].open();
  else await welcome();
}

/** What a newcomer sees: how to begin, or what to ask. */
async function welcome() {
  const place = $("welcome");
  let found;
  try {
    found = await api.get("/v1/documents", { limit: 200 });
  } catch (error) {
    if (error.status !== 401 && !["index-not-ready", "unreachable"].includes(error.code)) toast(error.message);
    return;
  }
  const chosen = $("doc").value;
  $("doc").replaceChildren(h("option", { value: "" }, "all documents"),
    ...found.documents.map((item) => h("option", { value: item.id }, called(item))));
  $("doc").value = chosen;
  place.hidden = !search.idle();
  if (found.total) {
    const pages = found.documents.reduce((sum, item) => sum + item.pages, 0);
    const examples = found.documents.slice(0, 6).map((item) => h("li", {}, h("button", {
      type: "button", title: `Ask ${item.name} only`, onclick: () => search.within(item.id),
    }, called(item))));
    place.replaceChildren(
      h("h2", {}, "Ask, and see the page that answers"),
      h("p", {}, `${plural(found.total, "document")} with ${plural(pages, "page")}${found.total > 200 ? " and more" : ""} can be searched, among them:`),
      h("ul", { class: "examples" }, ...examples));
  } else {
    place.replaceChildren(h("h2", {}, "Nothing is indexed yet"), dropZone());
  }
}

async function collections() {
  let names;
  try { names = await api.get("/v1/collections"); } catch { return; }
  if (!names.includes(api.state.collection)) api.state.collection = names[0] ?? "";
  $("collection-label").hidden = names.length < 2;
  $("collection").replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  $("collection").value = api.state.collection;
}

function keyboard(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.isComposing || event.target.isContentEditable || event.target.matches("input, textarea, select, video");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    location.hash = "#search";
    reveal();
    $("question").focus();
    return;
  }
  if (!viewer.isOpen()) return;
  if (event.key === "Escape") { viewer.close(); return; }
  if (typing) return;
  const act = { ArrowLeft: () => viewer.move(-1), ArrowRight: () => viewer.move(1), "+": () => viewer.zoomBy(1),
    "=": () => viewer.zoomBy(1), "-": () => viewer.zoomBy(-1), h: viewer.toggleHeat, r: viewer.turnPage }[event.key];
  if (act) { event.preventDefault(); act(); }
}

function theme() {
  const chosen = localStorage.getItem("folioscope-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
  $("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("folioscope-theme", dark ? "light" : "dark");
  });
}

/** `wrong`: the one that was used was refused. */
function askForKey(wrong = false) {
  const dialog = $("key-dialog");
  if (dialog.open) return;
  $("key-wrong").hidden = !wrong;
  $("key-input").value = "";
  dialog.returnValue = "cancel";
  dialog.showModal();
}

$("key-dialog").addEventListener("close", async () => {
  if ($("key-dialog").returnValue !== "ok") return;
  api.state.key = $("key-input").value.trim();
  await begin();
});
$("key").addEventListener("click", () => askForKey());
// No submit button: Enter in the field would press it, as the first of the form.
$("key-cancel").addEventListener("click", () => $("key-dialog").close("cancel"));
$("collection").addEventListener("change", async () => {
  api.state.collection = $("collection").value;
  search.clear();
  jobs.forget();
  await show();
  if (view() !== "documents") await jobs.watch();
});
document.addEventListener("keydown", keyboard);
window.addEventListener("hashchange", show);
api.state.unauthorised = askForKey;
jobs.whenChanged(async (ended) => {
  await documents.refresh(ended);
  if (ended.length && view() === "search") await welcome();
});
connection.whenBack(async () => {
  await collections();
  await review.badge();
  if (view() === "search") await welcome();
});
$("theme").append(icon("theme"));
$("key").append(icon("key"));
theme();
search.start();

async function begin() {
  reveal();
  await collections();
  await Promise.all([show(), review.badge()]);
  if (view() !== "documents") await jobs.watch();
}
begin();
