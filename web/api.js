// Requests to the service that the page came from, and what can go wrong with them.

/** Where the service is: beside the page, whatever path a proxy has put in front of it. */
export const base = new URL(".", document.baseURI);

const STATUS = {
  400: "The request was refused",
  403: "This is not allowed",
  404: "There is nothing there",
  413: "This is too large for the service: send less, or begin a new conversation",
  429: "Too many requests",
  502: "The model could not be reached",
  503: "The service is busy",
  504: "The model took too long",
};

const CODE = { server_shutting_down: "The service is being stopped or restarted" };

/** What a failure's code says by itself, "" for most. @param {string} code */
export function codeWords(code) {
  return Object.hasOwn(CODE, code) ? CODE[code] : "";
}

/**
 * A failure that can be told.
 * `kind`: offline, network, login, key, busy, refused, server, broken.
 */
export class Trouble extends Error {
  /** @param {string} kind @param {string} message @param {{status?: number, wait?: number, detail?: string}} more */
  constructor(kind, message, more = {}) {
    super(message);
    this.kind = kind;
    this.status = more.status ?? 0;
    this.wait = more.wait ?? 0;
    this.detail = more.detail ?? "";
  }
}

export function apiKey() {
  return held("key");
}

/** Kept for this tab only. @param {string} key */
export function keepKey(key) {
  hold("key", key);
}

/** Browsers give `randomUUID` to pages over https and on this machine only. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What the tab holds, "" where storage is forbidden. @param {string} name */
export function held(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} name @param {string} value */
export function hold(name, value) {
  try {
    if (value) sessionStorage.setItem(name, value);
    else sessionStorage.removeItem(name);
  } catch {
    // Forbidden or full: it is kept for as long as the page stays.
  }
}

/**
 * A response with a good status. Redirects are not followed: behind a proxy they mean a sign-in that has run out.
 * @param {string} path relative to the page
 * @param {RequestInit} options
 * @throws {Trouble}
 */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (apiKey()) headers.set("authorization", `Bearer ${apiKey()}`);
  const response = await reach(new URL(path, base), { ...options, headers, redirect: "manual" });
  if (response.type === "opaqueredirect") {
    throw new Trouble("login", "Your sign-in has run out. Reload the page to sign in again; nothing is lost.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function reach(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (!navigator.onLine) throw new Trouble("offline", "You are offline. What you wrote is kept.");
    throw new Trouble("network", "The service cannot be reached. It may have stopped, or the network is down.");
  }
}

async function refusal(response) {
  const { status } = response;
  const { detail, code } = await saying(response);
  if (status === 401) return new Trouble("key", keyWords(), { status, detail });
  const words = codeWords(code) || STATUS[status] || (status >= 500 ? "The service failed" : "The request was refused");
  const kind = status === 429 || status === 503 ? "busy" : status >= 500 ? "server" : "refused";
  return new Trouble(kind, words, { status, detail, wait: waiting(response) });
}

function keyWords() {
  return apiKey() ? "The key is not valid, or not any more" : "This service needs a key";
}

/** The error's own words and its code, in OpenAI's shape or not. */
async function saying(response) {
  const text = await response.text().catch(() => "");
  try {
    const { message, code } = JSON.parse(text).error;
    return { detail: String(message ?? "").slice(0, 2000), code: String(code ?? "") };
  } catch {
    return { detail: response.headers.get("content-type")?.startsWith("text/plain") ? text.slice(0, 500) : "", code: "" };
  }
}

/** Seconds, 0 where nothing is said: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after */
function waiting(response) {
  const said = response.headers.get("retry-after") ?? "";
  const seconds = /^\d+$/.test(said) ? Number(said) : (Date.parse(said) - Date.now()) / 1000;
  return seconds > 0 ? Math.min(Math.ceil(seconds), 3600) : 0;
}

/** @param {string} path */
export async function getJson(path) {
  return (await request(path)).json();
}

/** Saves a file that the agent has made; its content is never shown in the page. */
export async function download(file) {
  const response = await request(`v1/files/${encodeURIComponent(file.id)}/content`);
  save(await response.blob(), file.path.split("/").pop() || "file");
}

/** @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
