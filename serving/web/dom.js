// Small helpers over the DOM. Text always goes in as text: nothing from a document is ever HTML.

export const $ = (id) => document.getElementById(id);

/** An element: h("p", {class: "x", onclick: f}, "text", child). */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Tell the user something that went wrong, or well. */
export function toast(message, kind = "error") {
  const item = h("div", { class: `toast ${kind}` }, message,
    h("button", { type: "button", "aria-label": "Close", onclick: () => item.remove() }, "×"));
  $("toasts").append(item);
  setTimeout(() => item.remove(), kind === "error" ? 12000 : 5000);
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : many}`;

export function bytes(count) {
  for (const unit of ["B", "KB", "MB", "GB"]) {
    if (count < 1000 || unit === "GB") return `${count < 10 && unit !== "B" ? count.toFixed(1) : Math.round(count)} ${unit}`;
    count /= 1000;
  }
  return "";
}

/** What a document is called: its title, unless that is a number that some program gave it. */
export const called = (item) => (/\p{L}{3}/u.test(item.title) ? item.title : item.name);

/** What is said of a file, where its name stands before it already. */
export function withoutName(said, name) {
  const rest = name && said.startsWith(name) ? said.slice(name.length).replace(/^:?\s+/, "") : said;
  return rest || said;
}

/** Flags of pages and documents in words; those not listed show as they are. */
const FLAGS = {
  misnamed: "name does not fit its content",
  repaired: "damaged file, repaired",
  "opened-by-pdfium": "damaged file, opened by pdfium",
  "pages-missing": "pages missing",
  "pages-cut": "only its first pages were read",
  "recording-cut-off": "recording cut off",
  "frames-thinned": "not every change was kept",
  "parts-left-out": "linked or scripted parts missing",
  attachments: "attached files were not read",
  portfolio: "cover for files that were not read",
  "form-not-shown": "form that only Adobe’s programs show",
  "page-failed": "could not be read",
  "page-skipped": "not read for lack of time",
  "size-unknown": "page size unknown",
  "text-failed": "its text could not be read",
  "render-failed": "could not be rendered",
  "ocr-failed": "could not be read by OCR",
  "cut-off": "picture ends early",
  "page-damaged": "damaged, parts may be missing",
  "rendered-by-poppler": "rendered by poppler",
  "rendered-by-pdfium": "rendered by pdfium",
  "text-layer-unreadable": "text layer unreadable, read by OCR",
  illegible: "illegible",
  "partly-illegible": "partly illegible",
  "detail-cut": "not all read in detail",
  "one-of-several": "one of several papers",
  turned: "turned to be read",
  "shrunk-by-encoder": "print too small for the encoder",
  "hidden-text": "hidden text",
  "text-missing-in-layer": "text missing in its layer, read by OCR",
  "layer-differs": "text layer differs, read by OCR",
  "layer-unproved": "text layer could not be checked",
  "label-unknown": "page number unknown",
  "times-unknown": "times unknown",
  "outline-unknown": "outline unknown",
  "pictures-unknown": "pictures unknown",
  tiled: "read in tiles",
};
// Words may be missing, or the file is damaged.
const GRAVE = new Set(["repaired", "opened-by-pdfium", "pages-missing", "pages-cut", "recording-cut-off", "frames-thinned",
  "parts-left-out", "portfolio", "form-not-shown", "page-failed", "page-skipped", "size-unknown", "text-failed",
  "render-failed", "ocr-failed", "cut-off", "page-damaged", "illegible", "partly-illegible", "detail-cut", "hidden-text"]);

export function flagBadges(flags) {
  return flags.map((flag) => {
    const [name, pages] = flag.split(":"); // a document's flag of its pages says of how many
    const said = FLAGS[name] ?? name.replaceAll("-", " ");
    return h("span", { class: GRAVE.has(name) ? "flag grave" : "flag" }, pages ? `${said} (${plural(Number(pages), "page")})` : said);
  });
}

const ICONS = {
  heat: "M8 1.5c.6 2.6 3.9 4.1 3.9 7.6A3.9 3.9 0 0 1 8 13.2a3.9 3.9 0 0 1-3.9-4.1c0-1.6.9-2.6 1.6-3.6.3 1 .8 1.5 1.4 1.7C6.8 5 6.9 3.2 8 1.5Z",
  key: "M4.6 4.2a3.8 3.8 0 1 0 3.5 5.3h1.7l1.2 1.3 1.2-1.3 1.2 1.3L15.4 8l-1.5-1.6H8.1a3.8 3.8 0 0 0-3.5-2.2Zm-1 2.6a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4Z",
  theme: "M8 1.6a6.4 6.4 0 1 0 0 12.8V1.6Zm0-1a7.4 7.4 0 1 1 0 14.8A7.4 7.4 0 0 1 8 .6Z",
};

/** A small picture for a button; fonts differ in which symbols they have. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 16 16", width: 17, height: 17, fill: "currentColor", "fill-rule": "evenodd", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}
