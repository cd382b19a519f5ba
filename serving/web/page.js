// A page's picture with numbered regions over it and, if wanted, the heatmap.

import { picture } from "./api.js";
import * as connection from "./connection.js";
import { h, svg } from "./dom.js";

/** Where a hit is in its document: "page 4", or "0:12–0:31" in a recording. */
export function pageName(hit) {
  if (hit.times) return hit.label.replace("-", "–");
  const labelled = hit.label && hit.label !== String(hit.page + 1) ? ` (labelled “${hit.label}”)` : "";
  return `page ${hit.page + 1}${labelled}`;
}

/** By how many quarters, clockwise, a page has to be turned so that its lines run to the right: most
 * words stand where the line goes on from the one before. */
export function quartersToRead({ boxes, size: [w, height] }) {
  const runs = [0, 0, 0, 0]; // to the right, up, to the left, down
  for (let i = 1; i < boxes.length; i++) {
    const [dx, dy] = [0, 1].map((axis) => (boxes[i][axis] + boxes[i][axis + 2] - boxes[i - 1][axis] - boxes[i - 1][axis + 2]) * (axis ? height : w));
    // A step to the next line is across it, and rarer than those along it.
    if (Math.abs(dx) > 3 * Math.abs(dy)) runs[dx > 0 ? 0 : 2] += 1;
    else if (Math.abs(dy) > 3 * Math.abs(dx)) runs[dy < 0 ? 1 : 3] += 1;
  }
  return runs.indexOf(Math.max(...runs));
}

/** The picture of a hit. Options: width (pixels asked for), heat, question, regions, active, and turn:
 * the quarters by which it will be turned, against which its numbers are. A `late` one is fetched once
 * it is near the window: a server draws few pages at a time. */
export function pageFigure(hit, { width, heat = false, question = "", regions = hit.regions, active = -1, label = "", marks = innerWidth < 640 ? 1.9 : 1, turn = 0, late = false }) {
  const [w, height] = hit.size[0] > 0 ? hit.size : [595, 842];
  const figure = h("div", { class: "page loading", role: "img", "aria-label": label || `Page ${hit.page + 1} of ${hit.name}` });
  figure.style.aspectRatio = `${w} / ${height}`;
  const image = h("img", { alt: "", draggable: "false" });
  figure.append(image);
  const load = () => picture(`/v1/pages/${hit.page_id}/image`, { width }).then(
    (url) => { image.src = url; image.onload = () => figure.classList.remove("loading"); },
    (error) => {
      if (error.code === "unreachable") { connection.lost().then(() => figure.isConnected && load()); return; }
      figure.classList.replace("loading", "broken");
      figure.append(h("p", {}, error.message));
    },
  );
  if (late) whenNear(figure, load); else load();
  if (heat && question) {
    const overlay = h("img", { class: "heat", alt: "" });
    picture(`/v1/pages/${hit.page_id}/heatmap`, { question }).then((url) => { overlay.src = url; }, () => overlay.remove());
    figure.append(overlay);
  }
  figure.append(overlayOf(regions, w, height, active, marks, turn));
  return figure;
}

function whenNear(element, callback) {
  const watcher = new IntersectionObserver((seen) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    watcher.disconnect();
    callback();
  }, { rootMargin: "600px" });
  watcher.observe(element);
}

/** `unit` keeps marks readable where the page is small: the picture is scaled, they should not be. */
function overlayOf(regions, w, height, active, unit, turn) {
  const scale = 1000 / w;
  const root = svg("svg", { viewBox: `0 0 1000 ${Math.round(height * scale)}`, "aria-hidden": "true" });
  const tall = height * scale;
  // The best region last, so that its frame lies on top.
  regions.map((region, i) => [region, i]).reverse().forEach(([region, i]) => {
    const [x0, y0, x1, y1] = region.box;
    const pad = 4;
    const group = svg("g", { class: `region${i === 0 ? " best" : ""}${i === active ? " active" : ""}`, "data-region": i });
    group.append(svg("rect", {
      x: x0 * 1000 - pad, y: y0 * tall - pad, rx: 5,
      width: (x1 - x0) * 1000 + 2 * pad, height: (y1 - y0) * tall + 2 * pad,
    }));
    // Beside the place or, where there is no room, above it: never on what it marks.
    const left = x0 * 1000 - pad - 26 * unit;
    const [x, y] = left >= 0 ? [left, y0 * tall - pad] : [0, Math.max(0, y0 * tall - pad - 24 * unit)];
    const badge = svg("g", { class: "number", transform: `translate(${x} ${y}) scale(${unit}) rotate(${-90 * turn} 11 11)` });
    badge.append(svg("rect", { x: 0, y: 0, width: 22, height: 22, rx: 6 }));
    const text = svg("text", { x: 11, y: 16, "text-anchor": "middle" });
    text.textContent = String(region.number ?? i + 1);
    badge.append(text);
    group.append(badge);
    root.append(group);
  });
  return root;
}
