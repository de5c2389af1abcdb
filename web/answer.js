// An answer as it comes: text and work in their order, and what goes back to the service with the next question.

import { newId } from "./api.js";

/**
 * @typedef {{kind: "text", text: string}} TextPart
 * @typedef {{kind: "work", items: object[], begun: number, ended: number}} WorkPart reasoning and tools in a row
 * @typedef {{id: string, role: "assistant", parts: (TextPart|WorkPart)[], wire: object[], files: object[],
 *   notes: string[], usage: object|null, model: string, begun: number, ended: number, state: string, trouble: object|null}} Answer
 * `state`: waiting, streaming, asking, done, stopped, failed. `notes`: what to know of it at once. `wire`: messages of
 * turns that are over.
 */

const SHOWN = 200_000; // characters of a tool's arguments and result that are kept

/** @returns {Answer} */
export function newAnswer() {
  return {
    id: newId(),
    role: "assistant",
    parts: [],
    wire: [],
    turn: { content: "", calls: [] },
    files: [],
    usage: null,
    model: "",
    reason: "",
    limit: "",
    notes: [],
    begun: Date.now(),
    ended: 0,
    state: "waiting",
    trouble: null,
  };
}

/** Takes a chunk of Chat Completions in. @param {Answer} answer @param {object} chunk */
export function fold(answer, chunk) {
  answer.state = "streaming";
  if (chunk.usage) answer.usage = sum(answer.usage, chunk.usage);
  if (chunk.skill_agent) foldActivity(answer, chunk.skill_agent);
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const delta = choice.delta ?? {};
  if (delta.reasoning_content) reason(answer, String(delta.reasoning_content));
  if (delta.content) say(answer, String(delta.content));
  if (delta.refusal) say(answer, String(delta.refusal));
  for (const call of delta.tool_calls ?? []) foldCall(answer, call);
  if (choice.finish_reason) answer.reason = String(choice.finish_reason);
}

function say(answer, text) {
  answer.turn.content += text;
  const last = answer.parts.at(-1);
  if (last?.kind === "text") last.text += text;
  else {
    settle(answer);
    answer.parts.push({ kind: "text", text });
  }
}

function reason(answer, text) {
  const { items } = work(answer);
  const last = items.at(-1);
  if (last?.kind === "reasoning") last.text += text;
  else items.push({ kind: "reasoning", text });
}

/** The group of work that is under way; text ends it. @returns {WorkPart} */
function work(answer) {
  const last = answer.parts.at(-1);
  if (last?.kind === "work") return last;
  const part = { kind: "work", items: [], begun: Date.now(), ended: 0 };
  answer.parts.push(part);
  return part;
}

function settle(answer) {
  const last = answer.parts.at(-1);
  if (last?.kind === "work" && !last.ended) last.ended = Date.now();
}

function foldCall(answer, call) {
  const calls = answer.turn.calls;
  const at = call.index ?? calls.length;
  const known = (calls[at] ??= { id: call.id ?? "", type: "function", function: { name: "", arguments: "" } });
  known.function.name += call.function?.name ?? "";
  known.function.arguments += call.function?.arguments ?? "";
}

function foldActivity(answer, step) {
  const kind = step.type;
  if (kind === "skill_activated") {
    work(answer).items.push({ kind: "skill", name: String(step.name) });
  } else if (kind === "tool_start") {
    work(answer).items.push(newTool(step));
  } else if (kind === "tool_end") {
    end(answer, step);
  } else if (kind === "fell_back") {
    answer.notes.push(`${step.model} answers instead of ${step.instead_of} (${step.reason || "it failed earlier"})`);
  } else if (kind === "compacted") {
    work(answer).items.push({ kind: "note", text: "Earlier messages were shortened to fit the model's window" });
  } else if (kind === "finish") {
    answer.model = String(step.model ?? "");
    answer.limit = String(step.limit ?? "");
    answer.files = merged(answer.files, step.files ?? []);
  }
}

function newTool(step) {
  const given = String(step.arguments ?? "").slice(0, SHOWN);
  return { kind: "tool", id: String(step.id), name: String(step.name), given, result: null, isError: false, seconds: 0 };
}

function end(answer, step) {
  const started = allItems(answer).findLast((item) => item.kind === "tool" && item.id === step.id && item.result === null);
  const item = started ?? newTool(step);
  if (!started) work(answer).items.push(item);
  item.result = String(step.result ?? "").slice(0, SHOWN);
  item.isError = Boolean(step.is_error);
  item.seconds = Number(step.seconds) || 0;
}

function allItems(answer) {
  return answer.parts.flatMap((part) => (part.kind === "work" ? part.items : []));
}

function merged(files, more) {
  const known = new Map(files.map((file) => [file.id, file]));
  for (const file of more) known.set(String(file.id), { id: String(file.id), path: String(file.path), bytes: Number(file.bytes) || 0 });
  return [...known.values()];
}

function sum(one, other) {
  const add = (name) => (one?.[name] ?? 0) + (Number(other[name]) || 0);
  const cached = (one?.cached_tokens ?? 0) + (Number(other.prompt_tokens_details?.cached_tokens) || 0);
  const written = (one?.cache_write_tokens ?? 0) + (Number(other.prompt_tokens_details?.cache_write_tokens) || 0);
  return {
    prompt_tokens: add("prompt_tokens"),
    completion_tokens: add("completion_tokens"),
    cached_tokens: cached,
    cache_write_tokens: written,
  };
}

/** The turn is over: what it said goes into the history. @param {Answer} answer */
export function closeTurn(answer) {
  const { content, calls } = answer.turn;
  const made = calls.filter(Boolean);
  if (content || made.length) {
    answer.wire.push({ role: "assistant", content: content || null, ...(made.length ? { tool_calls: made } : {}) });
  }
  answer.turn = { content: "", calls: [] };
  return made;
}

/** Nothing more comes. A call that nobody has answered would be refused by the service: it is left out. */
export function close(answer, state, trouble = null) {
  closeTurn(answer);
  const answered = new Set(answer.wire.filter((message) => message.role === "tool").map((message) => message.tool_call_id));
  answer.wire = answer.wire.flatMap((message) => withoutOpenCalls(message, answered));
  settle(answer);
  for (const item of allItems(answer)) if (item.kind === "tool" && item.result === null) item.cut = true;
  answer.ended = Date.now();
  answer.state = state;
  answer.trouble = trouble;
}

function withoutOpenCalls(message, answered) {
  if (!message.tool_calls) return [message];
  const { tool_calls: calls, ...rest } = message;
  const kept = calls.filter((call) => answered.has(call.id));
  if (kept.length) return [{ ...rest, tool_calls: kept }];
  return rest.content ? [rest] : [];
}

/** @param {Answer} answer */
export function textOf(answer) {
  return answer.parts.filter((part) => part.kind === "text").map((part) => part.text).join("\n\n");
}
