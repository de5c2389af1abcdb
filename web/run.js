// One answer: the request, its stream, and the questions about tools that a person has to allow.

import { closeTurn, fold } from "./answer.js";
import { Trouble, codeWords, request } from "./api.js";
import { dataOf } from "./stream.js";

export const APPROVE = "approve_tool";
const RESTART = 3; // seconds until a service that stops may be there again

/**
 * @param {import("./answer.js").Answer} answer is filled
 * @param {object[]} wire the messages so far
 * @param {{model: string, settings: object, signal: AbortSignal}} how
 * @param {() => void} came is called after each piece
 * @param {(call: object) => Promise<boolean>} allowed
 * @throws {Trouble}
 */
export async function run(answer, wire, how, came, allowed) {
  while (true) {
    await stream(answer, bodyOf([...wire, ...answer.wire], how), how.signal, came);
    const calls = closeTurn(answer);
    const questions = calls.filter((call) => call.function.name === APPROVE);
    if (!questions.length) return;
    answer.state = "asking";
    for (const call of questions) {
      const content = (await allowed(call)) ? "yes" : "no";
      answer.wire.push({ role: "tool", tool_call_id: call.id, content });
    }
  }
}

function bodyOf(messages, { model, settings }) {
  const body = { model, messages, stream: true, stream_options: { include_usage: true }, skill_agent: { activity: true } };
  if (settings.temperature !== "") body.temperature = Number(settings.temperature);
  if (settings.maxTokens !== "") body.max_completion_tokens = Number(settings.maxTokens);
  if (settings.effort) body.reasoning_effort = settings.effort;
  return body;
}

async function stream(answer, body, signal, came) {
  const headers = { "content-type": "application/json", accept: "text/event-stream" };
  const response = await request("v1/chat/completions", { method: "POST", body: JSON.stringify(body), headers, signal });
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    throw new Trouble("server", "Something other than the service has answered. A sign-in may have run out: reload the page.");
  }
  for await (const data of dataOf(response.body)) {
    const chunk = parsed(data);
    if (chunk.error) throw inBand(chunk.error);
    fold(answer, chunk);
    came();
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new Trouble("broken", "The answer broke off: what came cannot be read.");
  }
}

function inBand(error) {
  const detail = String(error.message ?? "");
  const words = codeWords(String(error.code ?? ""));
  if (words) return new Trouble("busy", `The answer broke off. ${words}`, { detail, wait: RESTART });
  return new Trouble("server", "The answer broke off: the model or a tool failed.", { detail });
}

/** The tool's name and arguments that a question is about. */
export function askedAbout(call) {
  try {
    const { tool, arguments: given } = JSON.parse(call.function.arguments);
    return { tool: String(tool), given: typeof given === "string" ? given : JSON.stringify(given, null, 2) };
  } catch {
    return { tool: "a tool of the service", given: call.function.arguments };
  }
}
