// The review queue: borderline cases that wait for a person, with the place that raised them.

import * as api from "./api.js";
import { h, plural, toast, $ } from "./dom.js";
import { pageFigure } from "./page.js";

const STATES = ["waiting", "approved", "rejected"];
const PLACES = { question: "In the question", page: "On a page", answer: "In the answer" };
let state = "waiting";

/** Show how many wait, if this key may review and the server has a queue. */
export async function badge() {
  let items;
  try { items = await api.get("/v1/review", { state: "waiting" }); } catch { $("review-link").hidden = true; return; }
  $("review-link").hidden = false;
  $("review-badge").hidden = !items.length;
  $("review-badge").textContent = String(items.length);
}

export async function open() {
  const view = $("view-review");
  let items;
  try { items = await api.get("/v1/review", { state }); } catch (error) {
    view.replaceChildren(h("p", { class: "status" }, error.message));
    return;
  }
  const tabs = STATES.map((name) => h("button", {
    type: "button", "aria-pressed": String(name === state), onclick: () => { state = name; open(); },
  }, name));
  view.replaceChildren(
    h("header", { class: "review-head" },
      h("h2", {}, items.length ? `${plural(items.length, "case")} ${state}` : `Nothing is ${state}`),
      h("div", { class: "segments", role: "group", "aria-label": "Which cases" }, ...tabs)),
    ...items.map(card));
  const pictures = await Promise.all(items.map(place));
  pictures.forEach((figure, i) => figure && view.querySelectorAll(".case")[i]?.prepend(figure));
}

/** The page with the place that raised the case, if it is a page that can still be seen. */
async function place(item) {
  if (item.page_id === null) return null;
  let page;
  try { page = await api.get(`/v1/pages/${item.page_id}`); } catch { return null; }
  const regions = item.box ? [{ box: item.box, text: item.quote, score: 1 }] : [];
  const label = `Page ${page.page + 1} of ${page.name}, with the place that raised the case`;
  return h("div", { class: "case-page" }, pageFigure({ ...page, regions }, { width: 640, active: 0, label, marks: 2 }));
}

function card(item) {
  const note = h("input", { placeholder: "Why (for the audit log)", maxlength: "2000", "aria-label": "Why" });
  const decide = (verdict) => async () => {
    try {
      await api.post(`/v1/review/${item.id}/${verdict}`, { note: note.value.trim() });
      toast(verdict === "approve" ? "Approved: the same case is answered from now on." : "Rejected: the same case is blocked.", "good");
    } catch (error) { toast(error.message); }
    await badge();
    await open();
  };
  const where = item.name ? `${item.name}, page ${item.page + 1}` : null;
  const scores = Object.entries(item.scores).map(([name, score]) =>
    h("span", { class: "tag", title: name }, `${name.split(":")[0]} ${score.toFixed(2)}`));
  const buttons = [
    item.state === "approved" ? null : h("button", { type: "button", class: "primary", onclick: decide("approve") }, "Approve"),
    item.state === "rejected" ? null : h("button", { type: "button", class: "danger", onclick: decide("reject") }, "Reject")];
  return h("article", { class: "case" },
    h("div", { class: "case-about" },
      h("h3", {}, item.category.replaceAll("-", " ")),
      h("p", { class: "where" }, [PLACES[item.place], where, new Date(item.created * 1000).toLocaleString()].filter(Boolean).join(" · ")),
      h("blockquote", {}, item.quote),
      item.place === "question" ? null : h("p", { class: "quiet" }, `Asked: ${item.question}`),
      h("p", { class: "quiet" }, item.reasons.join("; ")),
      h("p", { class: "tags" }, ...scores, h("span", { class: "tag" }, item.policy)),
      item.reviewer ? h("p", { class: "quiet" }, `${item.state} by ${item.reviewer}${item.note ? `: ${item.note}` : ""}`) : null,
      h("div", { class: "decide" }, note, ...buttons)));
}
