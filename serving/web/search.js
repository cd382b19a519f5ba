// Asking, and the pages found.

import * as answers from "./answers.js";
import * as api from "./api.js";
import * as connection from "./connection.js";
import { called, flagBadges, h, plural, toast, $ } from "./dom.js";
import { pageFigure, pageName } from "./page.js";
import * as review from "./review.js";
import * as viewer from "./viewer.js";

const MOST_REPEATS = 2; // of a question that was cut off: what cuts it off may be the question
let running = null;
let hits = [];
let question = "";
let cutOff = false; // by a server that went away: asked again when it is back
let repeats = 0;

export function start() {
  const form = $("ask-form");
  const box = $("question");
  form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
  box.addEventListener("input", grow);
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (entry.contentRect.width !== width) { width = entry.contentRect.width; grow(); }
  }).observe(box);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); search(); }
  });
  viewer.whenMoved(mark);
}

/** Mark the hit that the viewer shows. */
function mark(index) {
  [...$("hits").children].forEach((item, i) => item.classList.toggle("current", i === index));
  $("hits").children[index]?.scrollIntoView({ block: "nearest" });
}

connection.whenBack(() => { if (cutOff && $("question").value.trim() === question) search(repeats + 1); });

function grow() {
  const box = $("question");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, 160)}px`;
}

/** Whether nothing was asked yet. */
export function idle() { return running === null; }

/** Forget what was found, as when the collection changes. */
export function clear() {
  running?.abort();
  running = null;
  cutOff = false;
  hits = [];
  viewer.close();
  answers.clear();
  $("hits").replaceChildren();
  $("status").textContent = "";
}

/** Ask one document only, from now on. */
export function within(docId) {
  $("doc").value = docId;
  $("doc").closest("details").open = true;
  $("question").focus();
}

async function search(repeat = 0) {
  repeats = repeat;
  question = $("question").value.trim();
  if (!question) { $("question").focus(); return; }
  running?.abort();
  const mine = running = new AbortController();
  cutOff = false;
  viewer.close();
  answers.clear();
  hits = [];
  $("welcome").hidden = true;
  $("hits").replaceChildren(...Array.from({ length: 3 }, () => h("li", { class: "hit ghost", "aria-hidden": "true" })));
  $("status").textContent = "Searching…";
  const body = { question, k: Math.min(50, Math.max(5, Number($("k").value) || 10)) };
  if ($("filter").value.trim()) body.filter = $("filter").value.trim();
  if ($("doc").value) body.doc_id = Number($("doc").value);
  let words = "";
  try {
    for await (const { event, data } of api.stream("/v1/ask/stream", body, mine.signal)) {
      if (mine !== running) return;
      if (event === "hits") showHits(data);
      else if (event === "token") { words += data.text; answers.drafting(words); }
      else if (event === "answer") showAnswer(data);
      else if (event === "problem") throw new api.ApiError(data, data.status);
    }
  } catch (error) {
    if (error.name === "AbortError" || mine !== running) return;
    answers.clear();
    if (error.code === "unreachable" && repeats < MOST_REPEATS) {
      cutOff = true;
      if (!hits.length) { $("hits").replaceChildren(); $("status").textContent = "This is asked again when the server is back."; }
      return;
    }
    if (!hits.length) { $("hits").replaceChildren(); $("status").textContent = ""; }
    if (error.status !== 401) toast(error.message);
  }
}

function showHits(found) {
  hits = found.hits;
  $("status").textContent = hits.length
    ? `${plural(hits.length, "page")} in ${Math.round(found.timing_ms.total)} ms`
    : "Nothing found. Try other words, or a wider filter.";
  const beside = hits.length > 0 && matchMedia("(min-width: 1000px)").matches;
  if (beside) viewer.show(hits, 0, question); // first: its picture must not wait behind the small ones
  $("hits").replaceChildren(...hits.map(card));
  if (beside) mark(0);
}

function showAnswer(answer) {
  noLongerSearching();
  alsoCited(answer);
  answers.show(answer, openCitation);
  // Once it is known whether there is a queue to look into, the answer links to it.
  if (answer.status === "review") review.badge().then(() => answers.show(answer, openCitation));
}

/** An answer that the safety gate holds comes without hits: nothing more is on its way. */
function noLongerSearching() {
  if (!$("hits").querySelector(".ghost")) return;
  $("hits").replaceChildren();
  $("status").textContent = "";
}

/** Pages that an answer cites and the search did not list, found by a second look. */
function alsoCited(answer) {
  if (!hits.length) return;
  const known = new Set(hits.map((hit) => hit.page_id));
  for (const hit of answer.hits.filter((found) => !known.has(found.page_id))) {
    hits.push(hit);
    $("hits").append(card(hit, hits.length - 1));
  }
}

/** Show a citation's own place on its page, which is among the pages found. */
function openCitation(citation) {
  const index = hits.findIndex((hit) => hit.page_id === citation.page_id);
  if (index < 0) return;
  const region = { box: citation.box, text: citation.quote, score: 1, number: citation.number };
  viewer.show(hits, index, question, { regions: [region], active: 0 });
}

function card(hit, index) {
  const open = () => viewer.show(hits, index, question);
  const metadata = Object.entries(hit.metadata).slice(0, 4).map(([name, value]) =>
    h("span", { class: "tag" }, `${name}: ${value}`));
  return h("li", { class: "hit" },
    h("button", { type: "button", class: "thumb", onclick: open, "aria-label": `Open page ${hit.page + 1} of ${hit.name}` },
      pageFigure(hit, { width: 320, label: "", late: true })),
    h("div", { class: "about" },
      h("h3", {}, h("button", { type: "button", class: "link", onclick: open }, called(hit))),
      h("p", { class: "where" }, `${called(hit) === hit.name ? "" : `${hit.name} · `}${pageName(hit)}`),
      h("p", { class: "snippet" }, hit.snippet),
      h("p", { class: "tags" },
        hit.score ? h("span", { class: "score", title: scores(hit) }, hit.score.toFixed(2)) : h("span", { class: "tag" }, "cited"),
        ...flagBadges(hit.flags), ...metadata)));
}

const scores = (hit) =>
  Object.entries(hit.scores).map(([lane, share]) => `${lane} ${share >= 0 ? "+" : ""}${share.toFixed(3)}`).join("  ");
