// An operation, tried: what is sent can be edited, what comes is shown as it comes.

import { apiKey, base } from "./api.js";
import { Component, duration, html } from "./ui.js";

const MOST = 500_000; // characters that are shown

export class Try extends Component {
  constructor(props) {
    super(props);
    const body = props.example ? JSON.stringify({ ...props.example, ...streaming(props.operation) }, null, 2) : "";
    this.state = { body, values: {}, told: null };
  }

  componentWillUnmount() {
    this.stop?.abort();
  }

  address() {
    const { path, parameters = [] } = this.props.operation;
    const { values } = this.state;
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[name] ?? ""));
    const address = new URL(filled.slice(1), base);
    for (const found of parameters) {
      if (found.in === "query" && values[found.name]) address.searchParams.set(found.name, values[found.name]);
    }
    return address;
  }

  async send(event) {
    event.preventDefault();
    const { method } = this.props.operation;
    const { body } = this.state;
    this.stop = new AbortController();
    const begun = performance.now();
    const headers = { ...(body ? { "content-type": "application/json" } : {}), ...(apiKey() ? { authorization: `Bearer ${apiKey()}` } : {}) };
    this.setState({ told: { running: true, status: "", text: "" } });
    try {
      const options = { method: method.toUpperCase(), headers, body: body || undefined, signal: this.stop.signal, redirect: "manual" };
      await this.read(await fetch(this.address(), options), begun);
    } catch (error) {
      const words = this.stop.signal.aborted ? "stopped" : "The service cannot be reached.";
      this.setState(({ told }) => ({ told: { ...told, running: false, status: [told.status, words].filter(Boolean).join(" · ") } }));
    }
  }

  async read(response, begun) {
    const head = response.status ? `${response.status} ${response.statusText}` : "a redirect: sign in again";
    const type = response.headers.get("content-type") ?? "";
    const decoder = new TextDecoder();
    let text = "";
    for await (const piece of pieces(response.body)) {
      text += decoder.decode(piece, { stream: true });
      if (text.length > MOST) text = `${text.slice(0, MOST)}\n… the rest is not shown`;
      this.setState({ told: { running: true, status: head, text } });
      if (text.length > MOST) break;
    }
    const status = [head, duration(performance.now() - begun), type].filter(Boolean).join(" · ");
    this.setState({ told: { running: false, status, text: type.startsWith("application/json") ? pretty(text) : text } });
  }

  render({ operation }, { body, values, told }) {
    const { parameters = [], id } = operation;
    const set = (name) => (event) => this.setState({ values: { ...values, [name]: event.target.value } });
    return html`<form class="try" onSubmit=${(event) => this.send(event)}>
      <h4>Try it</h4>
      ${parameters.map(({ name, required, schema }) => html`<label key=${name}>${name}<input required=${required} placeholder=${schema.default ?? ""} value=${values[name] ?? ""} onInput=${set(name)} /></label>`)}
      ${body !== "" || operation.requestBody ? html`<label>Body<textarea class="mono" spellcheck="false" rows=${Math.min(14, body.split("\n").length + 1)} value=${body} onInput=${(event) => this.setState({ body: event.target.value })}></textarea></label>` : null}
      <div class="buttons">${told?.running
        ? html`<button type="button" onClick=${() => this.stop.abort()}>Stop</button>`
        : html`<button type="submit" class="primary">Send<span class="hidden"> ${id}</span></button>`}</div>
      ${told && html`<div class="told"><p role="status" class="faint">${told.running ? "…" : ""} ${told.status}</p>${told.text && html`<pre tabindex="0">${told.text}</pre>`}</div>`}
    </form>`;
  }
}

function streaming(operation) {
  return operation.requestBody && operation.responses["200"].content["text/event-stream"] ? { stream: true } : {};
}

async function* pieces(body) {
  const reader = body?.getReader();
  if (!reader) return;
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
