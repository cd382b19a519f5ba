// The answer: what is said, where it stands, and whether it holds.

import { h, $ } from "./dom.js";

const VERDICTS = {
  supported: "every citation was checked",
  partly: "not everything could be checked",
  unsupported: "the pages do not bear this out",
};

export function clear() {
  $("answer").hidden = true;
  $("answer").replaceChildren();
}

/** A model's words while they come; they are not checked yet. */
export function drafting(words) {
  // Models reply in JSON: show the sentence in it, not its brackets.
  const said = words.match(/"answer"\s*:\s*"((?:[^"\\]|\\.)*)/)?.[1]?.replaceAll('\\"', '"').replaceAll("\\n", " ");
  $("answer").hidden = false;
  $("answer").replaceChildren(
    h("p", { class: "claim quiet" }, said || "…"),
    h("p", { class: "verdict" }, "Being written; not checked yet."));
}

/** The checked answer; `open` shows a citation's place. */
export function show(answer, open) {
  const place = $("answer");
  const cites = (claim) => claim.citations.map((citation) =>
    h("button", {
      type: "button", class: "cite", onclick: () => open(citation),
      title: `${citation.name}, page ${citation.page + 1}: “${citation.quote}”`,
      "aria-label": `Citation ${citation.number}: ${citation.name}, page ${citation.page + 1}`,
    }, String(citation.number)));
  const parts = [];
  if (answer.status === "answered") {
    const single = answer.claims.length === 1 && answer.model === "reader";
    parts.push(h("p", { class: "claim big" }, answer.text, ...(single ? cites(answer.claims[0]) : [])));
    if (!single || answer.claims[0].text !== answer.text) {
      parts.push(h("ul", { class: "claims" }, ...answer.claims.map((claim) =>
        h("li", {}, claim.text, ...(single ? [] : cites(claim)), ...claim.problems.map((problem) => h("span", { class: "problem" }, problem))))));
    }
    if (answer.conflicts.length) {
      parts.push(h("p", { class: "verdict" }, h("span", { class: "partly" }, "In conflict: other documents say otherwise.")));
      parts.push(h("ul", { class: "claims" }, ...answer.conflicts.map((claim) =>
        h("li", {}, claim.text, ...cites(claim), ...claim.citations.map((citation) => h("span", { class: "quiet" }, ` ${citation.name}`))))));
    }
    parts.push(h("p", { class: "verdict" },
      answer.model === "reader"
        ? h("span", {}, answer.claims.some((claim) => claim.arithmetic)
          ? "Worked out from the page's own figures; every step is shown. See whether it is what you asked."
          : "Quoted from the page, nothing worked out. See whether it is what you asked.")
        : h("span", { class: answer.verdict }, VERDICTS[answer.verdict]),
      answer.model === "reader" ? null : h("span", {}, `by ${answer.model}`),
      answer.removed.length ? h("span", {}, `${answer.removed.length} unsupported statements left out`) : null));
  } else if (answer.status === "evidence") {
    parts.push(h("p", { class: "verdict" }, "No short answer. The nearest passages:"));
    parts.push(h("ul", { class: "claims" }, ...answer.claims.map((claim) => h("li", {}, claim.text, ...cites(claim)))));
  } else {
    // The reader without a model misses much; who reads on should know.
    const perhaps = answer.status === "not-in-documents" && answer.model === "reader";
    parts.push(h("p", { class: "claim" }, perhaps ? "No short answer was found; the pages below may hold it all the same." : answer.text));
    if (answer.status === "blocked") {
      parts.push(h("p", { class: "verdict" }, "A safety check stopped it. If that is a mistake, ask in other words."));
    }
    if (answer.status === "review" && !$("review-link").hidden) {
      parts.push(h("p", { class: "verdict" }, h("a", { href: "#review" }, "See what waits for review")));
    }
  }
  place.replaceChildren(...parts);
  place.hidden = false;
}
