// Whether the server can be reached. While it cannot, the page says so, and goes on by itself later.

import { $ } from "./dom.js";

const SOON = 500;
const SELDOM = 4000;
const waiting = [];
let away = null; // a promise of the server's return, while it is away

/** Calls back each time that the server has come back. */
export function whenBack(callback) { waiting.push(callback); }

/** The server did not answer; resolves when it does again. */
export function lost() {
  if (away) return away;
  tell("The server cannot be reached; trying again. What it has received is safe.");
  away = probe().then(() => {
    away = null;
    tell("");
    for (const callback of waiting) callback();
  });
  return away;
}

async function probe() {
  for (let pause = SOON; ; pause = Math.min(pause * 1.5, SELDOM)) {
    await new Promise((done) => setTimeout(done, pause));
    try { if ((await fetch("/healthz", { cache: "no-store" })).ok) return; } catch { /* still away */ }
  }
}

function tell(message) {
  document.body.classList.toggle("away", message !== "");
  $("connection").textContent = message;
}
