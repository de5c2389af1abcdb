// Conversations as they are kept, sent, exported and imported.

import { textOf } from "./answer.js";
import { newId } from "./api.js";
import { asText, bytesIn, dataUrl } from "./attachments.js";

/**
 * @typedef {{id: string, name: string, type: string, size: number, kind: "image"|"pdf"|"text"}} Attachment
 * @typedef {{id: string, role: "user", text: string, attachments: Attachment[], at: number}} Question
 * @typedef {{id: string, title: string, created: number, updated: number,
 *   messages: (Question|import("./answer.js").Answer)[]}} Conversation
 */

const FORMAT = "skill-agent conversations";
const TITLE = 60;

/** @returns {Conversation} */
export function newConversation() {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, messages: [] };
}

/** @returns {Question} */
export function newQuestion(text, attachments) {
  return { id: newId(), role: "user", text, attachments, at: Date.now() };
}

/** @param {Conversation} conversation */
export function titleOf(conversation) {
  if (conversation.title) return conversation.title;
  const first = conversation.messages.find((message) => message.role === "user");
  const words = (first?.text || first?.attachments[0]?.name || "").trim().replace(/\s+/g, " ");
  return words.length > TITLE ? `${words.slice(0, TITLE).trimEnd()}…` : words || "New conversation";
}

/** Whether every word of a search stands in the title or in what was said. */
export function matches(conversation, search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const said = conversation.messages.map((message) => (message.role === "user" ? message.text : textOf(message)));
  const whole = [titleOf(conversation), ...said].join("\n").toLowerCase();
  return words.every((word) => whole.includes(word));
}

/**
 * The messages as Chat Completions takes them, in about `room` bytes: the oldest attachments are left out for it, those
 * of the last question never. `left`: the names of those.
 * @param {Conversation} conversation @param {string} system
 * @param {(id: string) => Promise<{blob: Blob}|undefined>} find
 * @param {number} room
 * @returns {Promise<{wire: object[], left: string[]}>}
 */
export async function wireOf({ messages }, system, find, room) {
  const head = system.trim() ? [{ role: "system", content: system.trim() }] : [];
  const written = messages.map((message) => (message.role === "user" ? message.text : message.wire));
  const { parts, left } = await attached(messages, find, room - bytesIn([head, written]));
  const wire = messages.flatMap((message) => (message.role === "user" ? asked(message, parts) : message.wire));
  return { wire: [...head, ...wire], left };
}

function asked({ text, attachments }, parts) {
  if (!attachments.length) return { role: "user", content: text };
  const content = attachments.map((attachment) => parts.get(attachment));
  return { role: "user", content: text ? [...content, { type: "text", text }] : content };
}

/** The parts of all attachments. The newest are read first: what does not fit any more is not read at all. */
async function attached(messages, find, room) {
  const parts = new Map();
  const left = [];
  const questions = messages.filter((message) => message.role === "user").reverse();
  for (const question of questions) {
    for (const attachment of [...question.attachments].reverse()) {
      const part = left.length ? null : await partOf(attachment, find);
      room -= part ? bytesIn(part) : 0;
      if (part && (room >= 0 || question === questions[0])) parts.set(attachment, part);
      else {
        left.unshift(attachment.name);
        parts.set(attachment, { type: "text", text: `(${attachment.name} was attached, and is left out: the conversation is too large)` });
      }
    }
  }
  return { parts, left };
}

async function partOf(attachment, find) {
  const kept = await find(attachment.id);
  if (!kept) return { type: "text", text: `(${attachment.name} was attached, and is not kept any more)` };
  if (attachment.kind === "image") return { type: "image_url", image_url: { url: await dataUrl(kept.blob) } };
  if (attachment.kind === "text") return { type: "text", text: asText(attachment.name, await kept.blob.text()) };
  return { type: "file", file: { filename: attachment.name, file_data: await dataUrl(kept.blob) } };
}

/** A file with conversations and what is attached to them. */
export async function exported(conversations, find) {
  const wanted = conversations.flatMap((conversation) => conversation.messages.flatMap((message) => message.attachments ?? []));
  const attachments = [];
  for (const { id } of wanted) {
    const kept = await find(id);
    if (kept) attachments.push({ id, data: await dataUrl(kept.blob) });
  }
  const body = { format: FORMAT, version: 1, exported: new Date().toISOString(), conversations, attachments };
  return new Blob([JSON.stringify(body, null, 1)], { type: "application/json" });
}

/**
 * What an exported file holds, checked and made anew: a file may come from anyone.
 * @param {string} text
 * @returns {Promise<{conversations: Conversation[], attachments: {id: string, blob: Blob}[]}>}
 */
export async function imported(text) {
  const body = JSON.parse(text);
  if (body?.format !== FORMAT || !Array.isArray(body.conversations)) throw new Error("This is no file of conversations.");
  const known = new Map();
  const attachments = [];
  for (const { id, data } of body.attachments ?? []) {
    const blob = blobOf(String(data));
    if (!blob) continue;
    const fresh = newId();
    known.set(String(id), fresh);
    attachments.push({ id: fresh, blob });
  }
  return { conversations: body.conversations.map((found) => remade(found, known)), attachments };
}

function blobOf(data) {
  const found = /^data:([\w.+-]+\/[\w.+-]+)[^,]*;base64,(.*)$/s.exec(data);
  if (!found) return null;
  const bytes = Uint8Array.from(atob(found[2]), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: found[1] });
}

function remade(found, known) {
  return {
    id: newId(),
    title: String(found.title ?? "").slice(0, 200),
    created: Number(found.created) || Date.now(),
    updated: Number(found.updated) || Date.now(),
    messages: (found.messages ?? []).map((message) => (message.role === "user" ? question(message, known) : answer(message))),
  };
}

function question(found, known) {
  const attachments = (found.attachments ?? []).map((attachment) => ({
    id: known.get(String(attachment.id)) ?? newId(),
    name: String(attachment.name ?? "file"),
    type: String(attachment.type ?? ""),
    size: Number(attachment.size) || 0,
    kind: ["image", "pdf", "text"].includes(attachment.kind) ? attachment.kind : "text",
  }));
  return { ...newQuestion(String(found.text ?? ""), attachments), at: Number(found.at) || Date.now() };
}

/** What was said; work, files and figures are other people's and stay behind. */
function answer(found) {
  const parts = (found.parts ?? []).filter((part) => part.kind === "text").map((part) => String(part.text));
  const said = parts.join("\n\n");
  return {
    id: newId(),
    role: "assistant",
    parts: said ? [{ kind: "text", text: said }] : [],
    wire: said ? [{ role: "assistant", content: said }] : [],
    turn: { content: "", calls: [] },
    files: [],
    usage: null,
    model: String(found.model ?? ""),
    reason: "",
    limit: "",
    notes: [],
    begun: 0,
    ended: Date.now(),
    state: "done",
    trouble: null,
  };
}
