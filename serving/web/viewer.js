// The page beside the results: large, zoomable, with its regions listed.

import { recording } from "./api.js";
import { flagBadges, h, icon, $ } from "./dom.js";
import { pageFigure, pageName } from "./page.js";

const ZOOMS = [1, 1.5, 2, 3, 4];
let shown = null;      // {hit, question, hits, index, regions, active}
let zoom = 0;
let heat = localStorage.getItem("folioscope-heat") !== "off";
let onMove = () => {};

export function whenMoved(callback) { onMove = callback; }
export function isOpen() { return shown !== null; }

/** Show a hit; regions default to its own (a citation shows its own box instead). */
export function show(hits, index, question, { regions = null, active = -1 } = {}) {
  const same = shown && shown.hits[shown.index]?.page_id === hits[index].page_id;
  shown = { hits, index, question, regions: regions ?? hits[index].regions, active };
  if (!same) zoom = 0;
  render();
  onMove(index);
}

export function close() {
  const index = shown?.index;
  shown = null;
  $("viewer").hidden = true;
  $("viewer").replaceChildren();
  document.body.classList.remove("viewing");
  if (index !== undefined) $("hits").children[index]?.querySelector("button")?.focus();
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

function button(label, title, action, pressed = null, disabled = false) {
  return h("button", {
    type: "button", class: "icon", title, "aria-label": title, onclick: action,
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
    width, heat, question, regions, active, label: `Page ${hit.page + 1} of ${hit.name}`,
  });
  figure.style.width = `${factor * 100}%`;
  const scroller = h("div", { class: "scroller", tabindex: "0", "aria-label": "The page; scroll to see all of it" }, figure);
  const playing = hit.times ? player(hit) : null;
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
        button(icon("heat"), "Heatmap on or off (h)", toggleHeat, heat),
        button("×", "Close (Esc)", close))),
    ...(playing ? [playing] : []),
    scroller,
    regionList(regions, active),
  );
  viewer.hidden = false;
  document.body.classList.add("viewing");
  focusOn(scroller, figure, regions[Math.max(active, 0)]);
}

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
        type: "button", class: i === active ? "active" : "",
        onclick: () => { shown.active = i; render(); },
      }, h("span", { class: "dot" }, String(region.number ?? i + 1)), h("span", { class: "text" }, region.text || "(picture)"))));
  return h("ol", { class: "regions", "aria-label": "Places on this page" }, ...items);
}

function focusOn(scroller, figure, region) {
  if (!region) return;
  requestAnimationFrame(() => {
    const [x0, y0, x1, y1] = region.box;
    scroller.scrollTop = ((y0 + y1) / 2) * figure.offsetHeight - scroller.clientHeight / 2;
    const middle = ((x0 + x1) / 2) * figure.offsetWidth - scroller.clientWidth / 2;
    // Of a place that is wider than the window its beginning, where one reads on.
    scroller.scrollLeft = Math.min(middle, x0 * figure.offsetWidth - 40);
  });
}
