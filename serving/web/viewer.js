// The page beside the results: large, zoomable, with its regions listed.

import { get, recording } from "./api.js";
import { flagBadges, h, icon, $ } from "./dom.js";
import { pageFigure, pageName, quartersToRead } from "./page.js";

const ZOOMS = [1, 1.5, 2, 3, 4];
const OVERLAY = matchMedia("(max-width: 999px)"); // the viewer lies over the hits
const STILL = /\.(gif|png|webp)$/i; // has times, but is nothing that a player plays
let shown = null;      // {hit, question, hits, index, regions, active}
let turn = 0;          // quarters, clockwise, by which the page is turned
let zoom = 0;
let heat = localStorage.getItem("folioscope-heat") !== "off";
let onMove = () => {};

export function whenMoved(callback) { onMove = callback; }
export function isOpen() { return shown !== null; }

/** Show a hit; regions default to its own (a citation shows its own box instead). */
export function show(hits, index, question, { regions = null, active = -1 } = {}) {
  const same = shown && shown.hits[shown.index]?.page_id === hits[index].page_id;
  const opened = !shown;
  shown = { hits, index, question, regions: regions ?? hits[index].regions, active };
  if (!same) {
    zoom = turn = 0;
    if (hits[index].flags.includes("turned")) upright(hits[index]);
  }
  render();
  if (opened && OVERLAY.matches) $("viewer").querySelector(".scroller").focus({ preventScroll: true });
  onMove(index);
}

/** Turn a page that lies sideways as its words are read. */
async function upright(hit) {
  let page;
  try { page = await get(`/v1/pages/${hit.page_id}`); } catch { return; }
  const quarters = quartersToRead(page);
  if (!quarters || shown?.hits[shown.index] !== hit || turn) return;
  turn = quarters;
  render();
}

export function close() {
  const index = shown?.index;
  const inside = $("viewer").contains(document.activeElement) || document.activeElement === document.body;
  shown = null;
  $("viewer").hidden = true;
  $("viewer").replaceChildren();
  document.body.classList.remove("viewing");
  if (index !== undefined && inside) $("hits").children[index]?.querySelector("button")?.focus();
}

export function move(step) {
  if (!shown) return;
  const next = shown.index + step;
  if (next >= 0 && next < shown.hits.length) show(shown.hits, next, shown.question);
}

export function toggleHeat() {
  heat = !heat;
  localStorage.setItem("folioscope-heat", heat ? "on" : "off");
  if (shown) render();
}

export function zoomBy(step) {
  if (!shown) return;
  zoom = Math.min(ZOOMS.length - 1, Math.max(0, zoom + step));
  render();
}

export function turnPage() {
  if (!shown) return;
  turn = (turn + 1) % 4;
  render();
}

function button(label, title, action, pressed = null, disabled = false) {
  return h("button", {
    type: "button", class: "icon", title, "aria-label": title, onclick: action, "data-part": title,
    "aria-pressed": pressed === null ? null : String(pressed), disabled,
  }, label);
}

function render() {
  const { hits, index, question, regions, active } = shown;
  const hit = hits[index];
  const viewer = $("viewer");
  const factor = ZOOMS[zoom];
  const width = factor > 1 ? 2000 : 1200;
  const figure = pageFigure(hit, {
    width, heat, question, regions, active, label: `Page ${hit.page + 1} of ${hit.name}`, turn,
  });
  const sheet = turn ? turned(figure, hit) : figure;
  sheet.style.width = `${factor * 100}%`;
  const scroller = h("div", {
    class: "scroller", tabindex: "0", role: "group", "data-part": "page", "aria-label": "The page; scroll to see all of it",
  }, sheet);
  const playing = hit.times && !STILL.test(hit.name) ? player(hit) : null;
  const held = viewer.contains(document.activeElement) ? document.activeElement.dataset.part : null;
  viewer.replaceChildren(
    h("header", {},
      h("div", { class: "where" },
        h("strong", { title: hit.name }, hit.name),
        h("span", {}, pageName(hit)),
        ...flagBadges(hit.flags)),
      h("div", { class: "tools" },
        button("‹", "Previous page found (←)", () => move(-1), null, index === 0),
        button("›", "Next page found (→)", () => move(1), null, index === hits.length - 1),
        button("−", "Smaller (−)", () => zoomBy(-1), null, zoom === 0),
        button("+", "Larger (+)", () => zoomBy(1), null, zoom === ZOOMS.length - 1),
        button("⟳", "Turn the page (r)", turnPage),
        button(icon("heat"), "Heatmap on or off (h)", toggleHeat, heat),
        button("×", "Close (Esc)", close))),
    ...(playing ? [playing] : []),
    scroller,
    regionList(regions, active),
  );
  viewer.hidden = false;
  document.body.classList.add("viewing");
  keepFocus(viewer, held);
  focusOn(scroller, sheet, regions[Math.max(active, 0)]);
}

/** Whoever goes by keyboard stays where they were, though all of it was made anew. */
function keepFocus(viewer, part) {
  if (!part) return;
  const same = [...viewer.querySelectorAll("[data-part]")].find((element) => element.dataset.part === part && !element.disabled);
  (same ?? viewer.querySelector(".scroller")).focus({ preventScroll: true });
}

/** The page turned by quarters, in a sheet as large as it is then. */
function turned(figure, hit) {
  const [w, height] = hit.size[0] > 0 ? hit.size : [595, 842];
  const sideways = turn % 2 === 1;
  const sheet = h("div", { class: "sheet" }, figure);
  sheet.style.aspectRatio = sideways ? `${height} / ${w}` : `${w} / ${height}`;
  figure.style.width = sideways ? `${(w / height) * 100}%` : "100%";
  figure.style.transform = `translate(-50%, -50%) rotate(${turn * 90}deg)`;
  return sheet;
}

/** Where a place (x, y) of the page is when it is turned. */
function place(x, y) { return [[x, y], [1 - y, x], [1 - x, 1 - y], [y, 1 - x]][turn]; }

/** The recording itself, at the moment at which the page is shown. */
function player(hit) {
  const kept = $("viewer").querySelector("video");
  if (kept?.dataset.page === String(hit.page_id)) return kept;
  const video = h("video", {
    controls: true, muted: true, playsinline: true, preload: "metadata", "data-page": hit.page_id,
    "aria-label": `Recording ${hit.name}, at ${hit.label}`,
  });
  video.addEventListener("loadedmetadata", () => { video.currentTime = hit.times[0]; });
  video.addEventListener("error", () => video.remove());
  recording(hit.doc_id).then((url) => { video.src = url; }, () => video.remove());
  return video;
}

function regionList(regions, active) {
  const items = regions.map((region, i) =>
    h("li", {},
      h("button", {
        type: "button", class: i === active ? "active" : "", "data-part": `region ${i}`,
        onclick: () => { shown.active = i; render(); },
      }, h("span", { class: "dot" }, String(region.number ?? i + 1)), h("span", { class: "text" }, region.text || "(picture)"))));
  return h("ol", { class: "regions", "aria-label": "Places on this page" }, ...items);
}

function focusOn(scroller, figure, region) {
  if (!region) return;
  requestAnimationFrame(() => {
    const [[a, b], [c, d]] = [place(...region.box.slice(0, 2)), place(...region.box.slice(2))];
    const [x0, y0, x1, y1] = [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
    scroller.scrollTop = ((y0 + y1) / 2) * figure.offsetHeight - scroller.clientHeight / 2;
    const middle = ((x0 + x1) / 2) * figure.offsetWidth - scroller.clientWidth / 2;
    // Of a place that is wider than the window its beginning, where one reads on.
    scroller.scrollLeft = Math.min(middle, x0 * figure.offsetWidth - 40);
  });
}
