// Asks a server through Vercel's AI SDK and prints what it was told, as JSON.
// node ai_sdk.mjs <folder of node_modules> <base URL> <compatible|chat|responses> <model> <answers|kept|sealed|errors>
import { createRequire } from 'node:module';

const [folder, baseURL, surface, model, what] = process.argv.slice(2);
const load = createRequire(`${folder}/`);
const { generateObject, generateText, stepCountIs, streamObject, streamText, tool } = load('ai');
const { createOpenAI } = load('@ai-sdk/openai');
const { createOpenAICompatible } = load('@ai-sdk/openai-compatible');
const { z } = load('zod');

globalThis.AI_SDK_LOG_WARNINGS = false;
const compatible = createOpenAICompatible({
  name: 'skill-agent', baseURL, apiKey: 'unused', includeUsage: true, supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL, apiKey: 'unused' });
const model_of = { compatible: () => compatible(model), chat: () => openai.chat(model), responses: () => openai(model) };
const asking = { model: model_of[surface](), maxRetries: 0 };

const price = tool({
  description: 'The price of an item.',
  inputSchema: z.object({ item: z.string() }),
  execute: async () => '3 euros',
});
const offer = z.object({ item: z.string(), price: z.number(), sizes: z.array(z.object({ grams: z.number() })) });
const silent = { onError: () => {} };

async function texts() {
  const whole = await generateText({ ...asking, system: 'Be kind.', prompt: 'hi' });
  const streamed = streamText({ ...asking, ...silent, prompt: 'hi' });
  const pieces = [];
  for await (const piece of streamed.textStream) pieces.push(piece);
  return {
    whole: [whole.text, whole.finishReason, whole.usage.inputTokens, whole.usage.outputTokens],
    streamed: [pieces.join(''), await streamed.finishReason, ...Object.values(await usage(streamed))],
    pieces: pieces.length,
    reasoning: [whole.reasoningText ?? '', (await streamed.reasoningText) ?? ''],
  };
}

async function usage(streamed) {
  const { inputTokens, outputTokens } = await streamed.usage;
  return { inputTokens, outputTokens };
}

// Two questions that each take a round trip; what was said goes along. Tells the calls and the text of each.
async function conversation(ask, options = {}) {
  const messages = [];
  const told = [];
  for (const prompt of ['What does tea cost?', 'What do tea and milk cost?']) {
    messages.push({ role: 'user', content: prompt });
    const end = await ask({ ...asking, ...options, messages, tools: { price }, stopWhen: stepCountIs(5) });
    const steps = await end.steps;
    messages.push(...(await end.response).messages);
    const calls = steps.flatMap((step) => step.toolCalls).map((call) => [call.toolName, call.input]);
    told.push({ calls, text: await end.text, finishes: steps.map((step) => step.finishReason) });
  }
  return told;
}

async function streamedWhole(how) {
  const result = streamText({ ...how, ...silent });
  await result.consumeStream();
  return result;
}

async function objects() {
  const how = { ...asking, schema: offer, prompt: 'Tell me of tea' };
  const streamed = streamObject({ ...how, ...silent });
  const partial = [];
  for await (const each of streamed.partialObjectStream) partial.push(each);
  return { whole: (await generateObject(how)).object, streamed: await streamed.object, last: partial.at(-1) };
}

async function forced() {
  const choices = ['required', { type: 'tool', toolName: 'price' }];
  const found = choices.map((toolChoice) => generateText({ ...asking, prompt: 'hi', tools: { price }, toolChoice }));
  return (await Promise.all(found)).map((end) => end.toolCalls.map((call) => [call.toolName, call.input]));
}

async function answers() {
  return {
    texts: await texts(),
    whole: await conversation(generateText),
    streamed: await conversation(streamedWhole),
    forced: await forced(),
    objects: await objects(),
  };
}

// The server keeps the answers, so that the client refers to them; or it seals its reasoning for the client to keep.
async function kept() {
  const options = { providerOptions: { openai: { store: true } } };
  return [await conversation(generateText, options), await conversation(streamedWhole, options)];
}

async function sealed() {
  const options = { providerOptions: { openai: { store: false, include: ['reasoning.encrypted_content'] } } };
  return [await conversation(generateText, options), await conversation(streamedWhole, options)];
}

async function failure(ask) {
  try {
    return { told: await ask() };
  } catch (error) {
    return { kind: error.name, status: error.statusCode, message: error.message, retry: error.isRetryable };
  }
}

async function streamFailure(how) {
  let text = '';
  let told = null;
  for await (const part of streamText({ ...asking, ...silent, prompt: 'hi', ...how }).fullStream) {
    if (part.type === 'text-delta') text += part.text;
    if (part.type === 'error') told = part.error;
  }
  return { text, error: told && { status: told.statusCode, message: told.message ?? String(told) } };
}

async function errors() {
  const how = model === 'skill-agent' ? { temperature: 5 } : {};
  return {
    whole: await failure(() => generateText({ ...asking, prompt: 'hi', ...how })),
    streamed: await streamFailure(how),
  };
}

console.log(JSON.stringify(await { answers, kept, sealed, errors }[what]()));
