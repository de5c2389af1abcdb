// Asks a server through the helpers of OpenAI's SDK for Node and prints what it was told, as JSON.
// node openai_helpers.mjs <folder of node_modules> <base URL> <chat|responses> <model> <answers|errors>
import { createRequire } from 'node:module';

const [folder, baseURL, surface, model, what] = process.argv.slice(2);
const load = createRequire(`${folder}/`);
const { OpenAI } = load('openai');
const { zodResponseFormat, zodResponsesFunction, zodTextFormat } = load('openai/helpers/zod');
const { z } = load('zod');

const client = new OpenAI({ baseURL, apiKey: 'unused', maxRetries: 0 });
const offer = z.object({ item: z.string(), price: z.number(), sizes: z.array(z.object({ grams: z.number() })) });
const item = z.object({ item: z.string() });
const BOTH = 'What do tea and milk cost?';
const said = (content) => [{ role: 'user', content }];

const chat = {
  async texts(how = {}) {
    const stream = client.chat.completions.stream({ model, messages: said('hi'), ...how });
    let heard = '';
    stream.on('content', (delta) => { heard += delta; });
    const end = await stream.finalChatCompletion();
    return [heard, await stream.finalContent(), end.choices[0].finish_reason];
  },
  async objects() {
    const how = { model, messages: said('Tell me of tea'), response_format: zodResponseFormat(offer, 'offer') };
    const whole = await client.chat.completions.parse(how);
    const end = await client.chat.completions.stream(how).finalChatCompletion();
    return [whole.choices[0].message.parsed, end.choices[0].message.parsed];
  },
  async tools(stream) {
    const calls = [];
    const price = {
      type: 'function',
      function: {
        name: 'price', description: 'The price of an item.', parameters: z.toJSONSchema(item), parse: JSON.parse,
        function: (given) => { calls.push(given.item); return '3 euros'; },
      },
    };
    const runner = client.chat.completions.runTools({ model, stream, messages: said(BOTH), tools: [price] });
    const text = await runner.finalContent();
    return { calls, text, roles: runner.messages.map((message) => message.role) };
  },
  whole: () => client.chat.completions.parse({ model, messages: said('hi'), ...wrong() }),
};

const responses = {
  async texts(how = {}) {
    const stream = client.responses.stream({ model, input: 'hi', ...how });
    let heard = '';
    stream.on('response.output_text.delta', (event) => { heard += event.delta; });
    const end = await stream.finalResponse();
    return [heard, end.output_text, end.status];
  },
  async objects() {
    const how = { model, input: 'Tell me of tea', text: { format: zodTextFormat(offer, 'offer') } };
    const whole = await client.responses.parse(how);
    const end = await client.responses.stream(how).finalResponse();
    return [whole.output_parsed, end.output_parsed];
  },
  async tools(stream) {
    const tools = [zodResponsesFunction({ name: 'price', parameters: item })];
    const ask = (how) => (stream ? client.responses.stream(how).finalResponse() : client.responses.parse(how));
    const first = await ask({ model, input: said(BOTH), tools });
    const made = first.output.filter((each) => each.type === 'function_call');
    const results = made.map(({ call_id }) => ({ type: 'function_call_output', call_id, output: '3 euros' }));
    const kept = await ask({ model, input: results, previous_response_id: first.id, tools });
    const sent = await ask({ model, input: [...said(BOTH), ...first.output, ...results], tools, store: false });
    return { calls: made.map((call) => call.parsed_arguments.item), text: kept.output_text, again: sent.output_text };
  },
  whole: () => client.responses.parse({ model, input: 'hi', ...wrong() }),
};

const wrong = () => (model === 'skill-agent' ? { temperature: 5 } : {});

async function failure(ask) {
  try {
    return { told: await ask() };
  } catch (error) {
    const { status, code, requestID, message } = error;
    return { kind: error.constructor.name, status, code, id: requestID, message };
  }
}

const api = { chat, responses }[surface];
const asks = {
  answers: async () => ({
    texts: await api.texts(), objects: await api.objects(), whole: await api.tools(false), streamed: await api.tools(true),
  }),
  errors: async () => ({ whole: await failure(api.whole), streamed: await failure(() => api.texts(wrong())) }),
};
console.log(JSON.stringify(await asks[what]()));
