// Server-sent events over fetch: https://html.spec.whatwg.org/multipage/server-sent-events.html

import { Trouble } from "./api.js";

const LONGEST = 8 * 1024 * 1024; // characters of one event
const SILENCE = 60_000; // the service says something every 10 s, also when the model does not

/**
 * The data of each event, until [DONE]. Throws where the stream ends without it.
 * @param {ReadableStream<Uint8Array>} body
 * @param {number} silence milliseconds without a byte that mean that nobody is there any more
 * @returns {AsyncGenerator<string>}
 */
export async function* dataOf(body, silence = SILENCE) {
  for await (const data of events(chunks(body, silence))) {
    if (data === "[DONE]") return;
    yield data;
  }
  throw new Trouble("broken", "The answer broke off: the service closed the connection before the end.");
}

async function* chunks(body, silence) {
  const reader = body.getReader();
  try {
    while (true) {
      const { value, done } = await heard(reader, silence);
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function heard(reader, silence) {
  let timer = 0;
  const silent = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Trouble("broken", "The answer broke off: nothing was heard any more.")), silence);
  });
  try {
    return await Promise.race([reader.read(), silent]);
  } catch (error) {
    if (error instanceof Trouble || error?.name === "AbortError") throw error;
    throw new Trouble("broken", "The answer broke off: the connection was lost.");
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Lines end with \n, \r\n or \r, wherever the bytes are cut.
 * @param {AsyncIterable<Uint8Array>} bytes
 */
async function* events(bytes) {
  const decoder = new TextDecoder();
  let rest = "";
  let data = [];
  for await (const piece of bytes) {
    rest += decoder.decode(piece, { stream: true });
    if (rest.length > LONGEST) throw new Trouble("broken", "The answer broke off: the service sent no end of line.");
    const lines = rest.split(/\r\n|\n|\r(?=[^])/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "" && data.length) {
        yield data.join("\n");
        data = [];
      } else if (line.startsWith("data:")) {
        data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
  }
}
