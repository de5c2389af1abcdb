// Asks a server through OpenAI's SDK for Node and prints what it was told, as JSON.
// node openai_client.mjs <folder of node_modules> <base URL> <model> <call|text|error|models>
import { createRequire } from 'node:module';

const [folder, baseURL, model, what] = process.argv.slice(2);
const { OpenAI } = createRequire(`${folder}/`)('openai');
const client = new OpenAI({ baseURL, apiKey: 'sk-client', maxRetries: 0 });
const messages = [{ role: 'user', content: 'hi' }];
const tools = [{ type: 'function', function: { name: 'price', parameters: { type: 'object', properties: {} } } }];
const body = { model, messages, max_tokens: 8, ...(what === 'call' && { tools }) };

const told = (choice, usage) => ({
  text: choice.message.content ?? '',
  calls: (choice.message.tool_calls ?? []).map((c) => [c.id, c.function.name, c.function.arguments]),
  finish: choice.finish_reason,
  usage: [usage.prompt_tokens, usage.completion_tokens],
});

async function pieces() {
  let text = '';
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? '';
  }
  return text;
}

async function helper() {
  const end = await client.chat.completions.stream({ ...body, stream_options: { include_usage: true } })
    .finalChatCompletion();
  return told(end.choices[0], end.usage);
}

async function answers() {
  if (what === 'models') return (await client.models.list()).data.map((each) => each.id);
  const whole = await client.chat.completions.create(body);
  return { whole: told(whole.choices[0], whole.usage), pieces: await pieces(), streamed: await helper() };
}

async function failure(ask) {
  try {
    await ask();
    return null;
  } catch (error) {
    const { status, code, requestID, message } = error;
    return { kind: error.constructor.name, status, code, id: requestID, message };
  }
}

const result = what === 'error' ? { whole: await failure(answers), streamed: await failure(pieces) } : await answers();
console.log(JSON.stringify(result));
