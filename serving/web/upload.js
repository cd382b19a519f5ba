// A place to drop files on, and how they are sent.

import * as api from "./api.js";
import * as connection from "./connection.js";
import { h, plural, toast, withoutName } from "./dom.js";
import * as jobs from "./jobs.js";

// Of one request; the server takes 200 files and 1 GB unless its operator says otherwise.
const MOST_FILES = 100;
const MOST_BYTES = 400e6;
const TRIES = 3;
let refusals = []; // of the last files that were sent; shown until others are

/** A place to drop files on; used with the documents and on the empty search page. */
export function dropZone() {
  const input = h("input", { type: "file", multiple: true, class: "visually-hidden", "aria-label": "Files", tabindex: "-1", onchange: () => send([...input.files]) });
  const metadata = h("input", { placeholder: "year=2024, team=finance", spellcheck: "false" });
  const bar = h("progress", { max: "1", value: "0", hidden: true, "aria-label": "Upload" });
  const told = h("div", { class: "refused", role: "status", "aria-label": "Files that were not taken" });
  const zone = h("div", { class: "drop" },
    h("p", { class: "drop-title" }, "Drop files here"),
    h("p", { class: "drop-note" }, "PDF, Office files, pictures, scans and recordings. They stay on this server."),
    h("p", { class: "drop-button" }, h("button", { type: "button", class: "primary", onclick: () => input.click() }, "Choose files"), input),
    h("label", { class: "quiet" }, "Metadata for all of them ", metadata),
    bar, told);
  tellRefusals(told);
  const over = (on) => (event) => { event.preventDefault(); zone.classList.toggle("over", on); };
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => { over(false)(event); send([...event.dataTransfer.files]); });

  async function send(files) {
    if (!files.length) return;
    let values;
    try { values = parseMetadata(metadata.value); } catch (error) { toast(error.message); return; }
    refusals = [];
    bar.value = 0;
    bar.hidden = false;
    const bytes = files.reduce((sum, file) => sum + file.size, 0) || 1;
    let sent = 0;
    let received = 0;
    for (const part of parts(files)) {
      const size = part.reduce((sum, file) => sum + file.size, 0);
      try {
        const { job, refused } = await persistent(part, values, (share) => { bar.value = (sent + share * size) / bytes; });
        refusals.push(...refused);
        received += job.files.length;
        jobs.watch();
      } catch (error) {
        const whole = { name: part.length === 1 ? part[0].name : "", reason: error.message };
        refusals.push(...(error.refused?.length ? error.refused : [whole]));
      }
      document.querySelectorAll(".refused").forEach(tellRefusals);
      sent += size;
    }
    bar.hidden = true;
    input.value = "";
    if (!received) return;
    toast(`${plural(received, "file")} received; indexing begins.`, "good");
    if (!document.getElementById("jobs")) location.hash = "#documents";
  }
  return zone;
}

function tellRefusals(place) {
  const items = refusals.map(({ name, reason }) => h("li", {}, name && h("strong", {}, name), ` ${withoutName(reason, name)}`));
  const close = h("button", {
    type: "button", class: "link", onclick: () => { refusals = []; document.querySelectorAll(".refused").forEach(tellRefusals); },
  }, "Close");
  place.replaceChildren(...(items.length ? [h("ul", {}, ...items), close] : []));
}

/** Upload once more when the server was away meanwhile: it knows a file that it has by its content. */
async function persistent(files, values, onProgress) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await api.upload(files, values, onProgress);
    } catch (error) {
      if (error.code !== "unreachable" || attempt === TRIES) throw error;
      await connection.lost();
    }
  }
}

/** The files in as many parts as the server takes at once. */
function parts(files) {
  const found = [];
  let bytes = Infinity;
  for (const file of files) {
    if (bytes + file.size > MOST_BYTES || found.at(-1).length === MOST_FILES) { found.push([]); bytes = 0; }
    found.at(-1).push(file);
    bytes += file.size;
  }
  return found;
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
