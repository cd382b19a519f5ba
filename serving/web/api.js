// The server's API: one place that knows keys, problems and pictures.

import * as connection from "./connection.js";

const AWAY = 502;
let key = sessionStorage.getItem("folioscope-key") ?? "";
let collection = localStorage.getItem("folioscope-collection") ?? "";
let onUnauthorised = () => {};

export const state = {
  get collection() { return collection; },
  set collection(name) { collection = name; localStorage.setItem("folioscope-collection", name); forgetPictures(); },
  set key(value) { key = value; sessionStorage.setItem("folioscope-key", value); forgetPictures(); },
  set unauthorised(callback) { onUnauthorised = callback; },
};

/** An error the server described (RFC 9457), or that it could not be reached. */
export class ApiError extends Error {
  constructor(problem, status) {
    super([problem.detail, problem.remedy].filter(Boolean).join(" "));
    this.code = problem.code;
    this.status = status;
    this.refused = problem.refused ?? [];
  }
}

const headers = () => (key ? { Authorization: `Bearer ${key}` } : {});

/** No answer, or a proxy (502) that reaches no server: it is away, and the page waits for it. One that
 * only took too long (504) was reached. */
function unreachable(detail = "The server cannot be reached.") {
  connection.lost();
  return new ApiError({ detail, code: "unreachable" }, 0);
}

/** A key that was refused is asked for anew, unless another one is used since. */
function refused(used) { if (used === key) onUnauthorised(key !== ""); }

async function checked(response, used) {
  if (response.ok) return response;
  if (response.status === AWAY) throw unreachable();
  if (response.status === 401) refused(used);
  let problem;
  try { problem = await response.json(); } catch { problem = { detail: `The server answered ${response.status}.` }; }
  throw new ApiError(problem, response.status);
}

async function send(path, options = {}) {
  const used = key;
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
  return checked(response, used);
}

const withCollection = (path, parameters = {}) => {
  const query = new URLSearchParams(parameters);
  if (collection) query.set("collection", collection);
  return `${path}?${query}`;
};

export const get = async (path, parameters) => (await send(withCollection(path, parameters))).json();
export const remove = async (path) => (await send(withCollection(path), { method: "DELETE" })).json();

export const post = async (path, body = {}, signal = undefined) =>
  (await send(path, {
    method: "POST", signal,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(collection ? { collection, ...body } : body),
  })).json();

export const act = async (path) => (await send(withCollection(path), { method: "POST" })).json();

/** Server-sent events of a POST, one after the other: {event, data}. */
export async function* stream(path, body, signal) {
  const response = await send(path, {
    method: "POST", signal,
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(collection ? { collection, ...body } : body),
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    let value, done;
    try { ({ value, done } = await reader.read()); } catch (error) {
      if (error.name === "AbortError") throw error;
      throw unreachable("The answer was cut off.");
    }
    if (done) return;
    buffer += value.replaceAll("\r\n", "\n");
    for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
      const event = { event: "message", data: "" };
      for (const line of buffer.slice(0, end).split("\n")) {
        if (line.startsWith("event:")) event.event = line.slice(6).trim();
        else if (line.startsWith("data:")) event.data += line.slice(5).trimStart();
      }
      buffer = buffer.slice(end + 2);
      if (event.data) yield { event: event.event, data: JSON.parse(event.data) };
    }
  }
}

/** Upload files with progress in [0, 1] of what was sent. */
export function upload(files, metadata, onProgress) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  form.append("metadata", JSON.stringify(metadata));
  if (collection) form.append("collection", collection);
  const used = key;
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/documents");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(unreachable("The upload was cut off."));
    request.onload = () => {
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* not ours: the status says enough */ }
      if (request.status < 300) resolve(body);
      else if (request.status === AWAY) reject(unreachable("The upload was cut off."));
      else {
        if (request.status === 401) refused(used);
        reject(new ApiError(body.detail ? body : { detail: `The server answered ${request.status}.` }, request.status));
      }
    };
    request.send(form);
  });
}

// Pictures need the key, so they are fetched and shown as blobs; those shown last are kept.
const pictures = new Map();
const MOST_PICTURES = 120;

export async function picture(path, parameters = {}) {
  const url = withCollection(path, parameters);
  const kept = pictures.get(url);
  if (kept) {
    // Now the newest: it must not be the next to go, perhaps before it is drawn.
    pictures.delete(url);
    pictures.set(url, kept);
    return kept;
  }
  const made = (async () => URL.createObjectURL(await (await send(url)).blob()))();
  pictures.set(url, made);
  made.catch(() => pictures.delete(url));
  if (pictures.size > MOST_PICTURES) {
    const [oldest] = pictures.keys();
    pictures.get(oldest).then((blob) => URL.revokeObjectURL(blob), () => {});
    pictures.delete(oldest);
  }
  return made;
}

/** Where a recording can be played from: its address, or where a key is needed a copy. */
export async function recording(docId) {
  const path = withCollection(`/v1/documents/${docId}/recording`);
  return key ? picture(`/v1/documents/${docId}/recording`) : path;
}

function forgetPictures() {
  for (const made of pictures.values()) made.then((blob) => URL.revokeObjectURL(blob), () => {});
  pictures.clear();
}
