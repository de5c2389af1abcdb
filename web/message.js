// A question and an answer as they are shown.

import { textOf } from "./answer.js";
import { download } from "./api.js";
import { sizeOf } from "./attachments.js";
import { Rendering } from "./markdown.js";
import { Work } from "./work.js";
import { Component, IconButton, copy, count, dollars, duration, html, icon, useEffect, useState } from "./ui.js";

export class QuestionView extends Component {
  shouldComponentUpdate(next, state) {
    return next.message !== this.props.message || next.locked !== this.props.locked || state !== this.state;
  }

  edited(event) {
    event.preventDefault();
    const text = this.area.value.trim();
    const { chat, message } = this.props;
    this.setState({ editing: false });
    if (text || message.attachments.length) void chat.edit(message, text);
  }

  key(event) {
    if (event.key === "Escape") this.setState({ editing: false });
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) this.edited(event);
    event.stopPropagation();
  }

  render({ chat, message, locked }, { editing }) {
    return html`<article class="question" aria-label="You">
      ${message.attachments.length > 0 && html`<ul class="attached">
        ${message.attachments.map((found) => html`<${Attached} key=${found.id} chat=${chat} attachment=${found} />`)}</ul>`}
      ${editing
        ? html`<form class="editing" onSubmit=${(event) => this.edited(event)}>
            <textarea aria-label="Edit the question" rows="3" ref=${(found) => (this.area = found)} onKeyDown=${(event) => this.key(event)}>${message.text}</textarea>
            <p class="faint">What followed this question is replaced.</p>
            <div class="buttons"><button type="button" class="small" onClick=${() => this.setState({ editing: false })}>Cancel</button>
            <button type="submit" class="small primary">Send again</button></div></form>`
        : message.text && html`<${Said} text=${message.text} />`}
      ${!editing && html`<div class="actions">
        <${Copy} text=${() => message.text} />
        ${!locked && html`<${IconButton} name="edit" size="16" label="Edit and send again" onClick=${() => this.edit()} />`}
      </div>`}
    </article>`;
  }

  edit() {
    this.setState({ editing: true }, () => {
      this.area?.focus();
      this.area?.setSelectionRange(this.area.value.length, this.area.value.length);
    });
  }
}

/** What a person wrote, as it is; what is very long is folded. */
function Said({ text }) {
  const [all, setAll] = useState(false);
  const long = text.length > 4000;
  return html`<div class="bubble">${long && !all ? `${text.slice(0, 2000)} …` : text}
    ${long && html`<button type="button" class="small" onClick=${() => setAll(!all)}>${all ? "Show less" : `Show all ${count(text.length, "character")}`}</button>`}</div>`;
}

function Attached({ chat, attachment }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    if (attachment.kind !== "image") return undefined;
    let url = "";
    let gone = false;
    chat.attachment(attachment.id).then((kept) => {
      if (kept && !gone) setAddress((url = URL.createObjectURL(kept.blob)));
    });
    return () => {
      gone = true;
      URL.revokeObjectURL(url);
    };
  }, [attachment.id]);
  if (address) return html`<li><img class="picture" src=${address} alt=${attachment.name} /></li>`;
  return html`<li class="chip">${icon("file", 16)}<span>${attachment.name}</span><small>${sizeOf(attachment.size)}</small></li>`;
}

export class AnswerView extends Component {
  shouldComponentUpdate(next) {
    const { message, last, locked } = this.props;
    const over = message === next.message && this.drawn === next.message.state && next.message.ended;
    return !over || last !== next.last || locked !== next.locked;
  }

  render({ chat, message, last, locked, announce }) {
    this.drawn = message.state;
    const over = message.ended > 0;
    const final = message.parts.at(-1);
    return html`<article class="answer" aria-label="Answer">
      ${message.notes?.map((words) => html`<p class="state" key=${words}>${words}</p>`)}
      ${message.parts.map((part, at) =>
        part.kind === "text"
          ? html`<${TextView} key=${at} text=${part.text} whole=${over || part !== final} announce=${announce} quiet=${over && !this.live} />`
          : html`<${Work} key=${at} part=${part} files=${message.files} running=${!over && part === final} chat=${chat} />`,
      )}
      ${this.note(message, over)}
      ${over && message.files.length > 0 && html`<${Files} files=${message.files} />`}
      ${over && html`<div class="actions">
        <${Copy} text=${() => textOf(message)} />
        ${last && !locked && html`<${IconButton} name="retry" size="16" label="Answer again" onClick=${() => chat.retry()} />`}
        <${Figures} chat=${chat} message=${message} />
      </div>`}
    </article>`;
  }

  note(message, over) {
    if (!over) {
      this.live = true;
      const quiet = message.parts.at(-1)?.kind !== "work";
      return quiet && html`<p class="waiting" role="img" aria-label="The answer is coming"><span></span><span></span><span></span></p>`;
    }
    const { chat, last, locked } = this.props;
    if (message.state === "stopped") return html`<p class="state">Stopped.</p>`;
    if (message.state === "failed") return html`<${Failure} chat=${chat} trouble=${message.trouble} again=${last && !locked} />`;
    if (message.reason === "length") return html`<p class="state">The answer was cut off: ${limitWords(message.limit)}.</p>`;
    if (message.reason === "content_filter") return html`<p class="state">The provider's filter has held the answer back.</p>`;
    return !message.parts.length && html`<p class="state">The model has said nothing.</p>`;
  }
}

function limitWords(limit) {
  return limit ? `the limit of ${limit} was reached` : "the limit of its length was reached";
}

class TextView extends Component {
  componentDidMount() {
    this.rendering = new Rendering(this.root, (words) => !this.props.quiet && this.props.announce(words));
    this.componentDidUpdate();
  }

  shouldComponentUpdate(next) {
    return next.text !== this.props.text || next.whole !== this.props.whole;
  }

  componentDidUpdate() {
    this.rendering.update(this.props.text, this.props.whole);
  }

  render() {
    return html`<div class="markdown" ref=${(found) => (this.root = found)}></div>`;
  }
}

function Failure({ chat, trouble, again }) {
  const [left, setLeft] = useState(() => Math.max(0, Math.ceil(trouble.wait - (Date.now() - (trouble.at ?? 0)) / 1000)));
  useEffect(() => {
    if (left <= 0) return undefined;
    const timer = setTimeout(() => setLeft(left - 1), 1000);
    return () => clearTimeout(timer);
  }, [left]);
  const retry = () => (trouble.kind === "key" ? chat.askKey(trouble, chat.current) : chat.retry());
  return html`<div class="failure" role="alert">
    <div>${icon("note")}<strong>${trouble.message}</strong></div>
    ${trouble.detail && html`<p>${trouble.detail}</p>`}
    ${again && html`<button type="button" class="small" disabled=${left > 0} onClick=${retry}>
      ${trouble.kind === "key" ? "Enter the key" : left > 0 ? `Try again in ${left} s` : "Try again"}</button>`}
  </div>`;
}

export function Files({ files }) {
  return html`<ul class="files" aria-label="Files made">${files.map((file) => html`<li key=${file.id}><${FileButton} file=${file} /></li>`)}</ul>`;
}

export function FileButton({ file }) {
  const [trouble, setTrouble] = useState("");
  const fetchIt = () => download(file).then(() => setTrouble(""), (error) => setTrouble(error.detail || error.message));
  return html`<button type="button" class="chip" onClick=${fetchIt} aria-label=${`Download ${file.path}`}>${icon("down", 16)}
    <span>${file.path}</span><small>${trouble || sizeOf(file.bytes)}</small></button>`;
}

function Copy({ text }) {
  const [done, setDone] = useState("");
  const act = async () => {
    setDone((await copy(text())) ? "Copied" : "The browser does not allow it");
    setTimeout(() => setDone(""), 1500);
  };
  return html`<${IconButton} name=${done === "Copied" ? "check" : "copy"} size="16" label=${done || "Copy"} onClick=${act} />`;
}

function Figures({ chat, message }) {
  if (!message.begun || !message.ended) return null;
  const cost = chat.models.cost(message.model, message.usage);
  const told = [duration(message.ended - message.begun)];
  if (message.usage) told.push(`${count(message.usage.prompt_tokens, "token")} in, ${message.usage.completion_tokens.toLocaleString("en")} out`);
  if (cost !== null) told.push(dollars(cost));
  return html`<span class="figures" title=${message.model}>${told.join(" · ")}</span>`;
}
