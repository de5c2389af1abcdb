// The description of the API, drawn from openapi.json, with every operation to be tried.

import { apiKey, base, getJson, keepKey } from "./api.js";
import { Shape } from "./schema.js";
import { Try } from "./try.js";
import { Component, copy, html, icon, render, useState } from "./ui.js";

const GROUPS = [
  ["Chat Completions", /^\/v1\/chat/],
  ["Responses", /^\/v1\/responses/],
  ["Models", /^\/v1\/models/],
  ["Files", /^\/v1\/files/],
  ["Databricks", /^\/(responses|invocations|agent)/],
  ["Health", /./],
];

class Docs extends Component {
  constructor() {
    super();
    this.state = { document: null, trouble: null, key: apiKey() };
  }

  async componentDidMount() {
    await this.load();
    // The part that the address names was not there when the page was opened.
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  }

  async load() {
    try {
      this.setState({ document: await getJson("openapi.json"), trouble: null });
    } catch (trouble) {
      this.setState({ trouble });
    }
  }

  setKey(key) {
    keepKey(key.trim());
    this.setState({ key });
    if (!this.state.document) void this.load();
  }

  render(_, { document: doc, trouble, key }) {
    const groups = doc ? grouped(doc) : [];
    return html`<div class="docs">
      <aside class="toc" aria-label="Operations">
        <p class="brand"><img src=${new URL("./icon.svg", import.meta.url).href} alt="" width="22" height="22" />skill-agent</p>
        <nav>${groups.map(([title, operations]) => html`<section key=${title}><h2>${title}</h2><ul>
          ${operations.map(({ id, method, path }) => html`<li key=${id}><a href=${`#${id}`}><b class=${`verb ${method}`}>${method}</b><span>${path.replace(/^\/v1\//, "/")}</span></a></li>`)}
        </ul></section>`)}</nav>
      </aside>
      <main>
        <header class="intro">
          <h1>API</h1>
          <p class="faint">${doc ? `${doc.info.title} ${doc.info.version}. ${doc.info.description}` : "The API of this service."}</p>
          <p class="links"><a href=${base.href}>Chat</a><a href="openapi.json">openapi.json</a></p>
          <div class="access">
            <div><h2>Base address</h2><code>${new URL("v1", base).href}</code></div>
            <form onSubmit=${(event) => event.preventDefault()}><label>Key<input type="password" autocomplete="off" spellcheck="false" placeholder="none" value=${key} onChange=${(event) => this.setKey(event.target.value)} />
              <small>For “Try it”. Kept for this tab only.</small></label></form>
          </div>
          ${trouble && html`<p class="failure" role="alert">${trouble.message}${trouble.detail ? `: ${trouble.detail}` : ""}</p>`}
        </header>
        ${groups.map(([title, operations]) => html`<section key=${title} class="group"><h2>${title}</h2>
          ${operations.map((operation) => html`<${Operation} key=${operation.id} operation=${operation} schemas=${doc.components.schemas} />`)}
        </section>`)}
      </main>
    </div>`;
  }
}

function grouped(doc) {
  const found = new Map(GROUPS.map(([title]) => [title, []]));
  for (const [path, methods] of Object.entries(doc.paths)) {
    const [title] = GROUPS.find(([, pattern]) => pattern.test(path));
    for (const [method, described] of Object.entries(methods)) {
      found.get(title).push({ id: described.operationId, method, path, ...described });
    }
  }
  return [...found].filter(([, operations]) => operations.length);
}

function Operation({ operation, schemas }) {
  const { id, method, path, summary, parameters = [], requestBody, responses } = operation;
  const body = requestBody?.content["application/json"];
  return html`<article class="operation" id=${id} aria-labelledby=${`${id}-title`}>
    <h3 id=${`${id}-title`}><b class=${`verb ${method}`}>${method}</b> <code>${path}</code></h3>
    <p>${marked(summary)}</p>
    <div class="sides">
      <div>
        ${parameters.length > 0 && html`<h4>Parameters</h4><dl class="fields-list">
          ${parameters.map((found) => html`<div key=${found.name}><dt><code>${found.name}</code> <small>in ${found.in}${found.required ? ", needed" : ""}</small></dt>
            <dd><${Shape} schema=${found.schema} schemas=${schemas} /></dd></div>`)}</dl>`}
        ${body && html`<h4>Body</h4><${Shape} schema=${body.schema} schemas=${schemas} open=${true} />`}
        <h4>Answer</h4>
        ${Object.entries(responses).map(([status, response]) => html`<${Answer} key=${status} status=${status} response=${response} schemas=${schemas} />`)}
      </div>
      <div>
        <${Samples} operation=${operation} example=${body?.example} />
        <${Try} operation=${operation} example=${body?.example} />
      </div>
    </div>
  </article>`;
}

/** Words in backticks as code. */
function marked(text) {
  return text.split("`").map((words, at) => (at % 2 ? html`<code key=${at}>${words}</code>` : words));
}

function Answer({ status, response, schemas }) {
  return html`<div class="reply">${Object.entries(response.content ?? {}).map(([type, { schema }]) => html`<div key=${type}>
    <p><b class="status">${status === "default" ? "4xx, 5xx" : status}</b> <small>${type}</small></p>
    ${schema?.$ref ? html`<${Shape} schema=${schema} schemas=${schemas} />` : html`<p class="faint">${schema?.description ?? "The bytes"}</p>`}
  </div>`)}</div>`;
}

function Samples({ operation, example }) {
  const [chosen, setChosen] = useState("curl");
  const [copied, setCopied] = useState(false);
  const samples = { curl: curl(operation, example), Python: python(operation, example) };
  const names = Object.keys(samples).filter((name) => samples[name]);
  const shown = samples[chosen] || samples.curl;
  const act = async () => {
    setCopied(await copy(shown));
    setTimeout(() => setCopied(false), 1500);
  };
  return html`<div class="code">
    <div class="code-bar"><span role="group" aria-label="Language">${names.map((name) => html`<button type="button" key=${name} class="quiet small" aria-pressed=${name === chosen} onClick=${() => setChosen(name)}>${name}</button>`)}</span>
      <button type="button" class="quiet small" onClick=${act}>${copied ? html`${icon("check", 14)} Copied` : "Copy"}</button></div>
    <pre tabindex="0">${shown}</pre></div>`;
}

function curl({ method, path }, example) {
  const lines = [`curl ${new URL(path.slice(1), base).href.replace(/%7B/g, "{").replace(/%7D/g, "}")}`];
  if (method !== "get" && !example) lines[0] = lines[0].replace("curl", `curl -X ${method.toUpperCase()}`);
  lines.push(`-H "Authorization: Bearer $KEY"`);
  if (example) lines.push(`-H "Content-Type: application/json"`, `-d '${JSON.stringify(example, null, 2).replaceAll("'", "'\\''")}'`);
  return lines.join(" \\\n  ");
}

/** Where OpenAI's package has the operation. */
function python({ path, method }, example) {
  const calls = { "/v1/chat/completions": "chat.completions.create", "/v1/responses": "responses.create", "/v1/models": "models.list" };
  const known = path === "/v1/models" ? method === "get" : method === "post";
  if (!calls[path] || !known) return "";
  const given = Object.entries(example ?? {}).map(([name, value]) => `\n    ${name}=${JSON.stringify(value)},`);
  const call = `client.${calls[path]}(${given.join("")}${given.length ? "\n" : ""})`;
  const shown = { "/v1/chat/completions": "answer.choices[0].message.content", "/v1/responses": "answer.output_text", "/v1/models": "answer.data" };
  return `from openai import OpenAI\n\nclient = OpenAI(base_url="${new URL("v1", base).href}", api_key="…")\nanswer = ${call}\nprint(${shown[path]})`;
}

render(html`<${Docs} />`, document.getElementById("docs"));
