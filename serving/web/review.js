// The review queue: borderline cases that wait for a person.

import * as api from "./api.js";
import { h, plural, toast, $ } from "./dom.js";

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
  try { items = await api.get("/v1/review", { state: "waiting" }); } catch (error) {
    view.replaceChildren(h("p", { class: "status" }, error.message));
    return;
  }
  view.replaceChildren(
    h("h2", {}, items.length ? `${plural(items.length, "case")} waiting` : "Nothing is waiting"),
    ...items.map(card));
}

function card(item) {
  const decide = (verdict) => async () => {
    try { await api.post(`/v1/review/${item.id}/${verdict}`, {}); toast(verdict === "approve" ? "Approved." : "Rejected.", "good"); }
    catch (error) { toast(error.message); }
    await badge();
    await open();
  };
  return h("article", { class: "case" },
    h("h3", {}, item.category ?? "borderline"),
    h("blockquote", {}, item.quote),
    h("p", { class: "quiet" }, item.reason ?? ""),
    h("p", {},
      h("button", { type: "button", class: "primary", onclick: decide("approve") }, "Approve"), " ",
      h("button", { type: "button", class: "danger", onclick: decide("reject") }, "Reject")));
}
