// Where a message is written: text, files by button, paste and drop. What is typed is kept until it is sent.

import { Unusable, filesIn, sizeOf, take } from "./attachments.js";
import { hold, held } from "./api.js";
import { Component, IconButton, count, dollars, html, icon } from "./ui.js";

const PASTE = 20_000; // characters that become a file
const TALLEST = 260; // pixels
const MOST = 10; // files

export class Composer extends Component {
  constructor(props) {
    super(props);
    this.drafts = `draft:${props.chat.current.messages.length ? props.chat.current.id : "new"}`;
    this.state = { text: held(this.drafts) || asked(), taken: [], troubles: [], dropping: 0, reading: 0 };
  }

  componentDidMount() {
    this.grow();
    if (matchMedia("(hover: hover)").matches) this.focus();
    if (this.state.text) hold(this.drafts, this.state.text);
  }

  componentWillUnmount() {
    for (const { preview } of this.state.taken) URL.revokeObjectURL(preview);
  }

  focus() {
    this.area?.focus();
  }

  fill(text) {
    this.type(text);
    this.focus();
  }

  type(text) {
    hold(this.drafts, text);
    this.setState({ text }, () => this.grow());
  }

  grow() {
    if (!this.area) return;
    this.area.rows = 1;
    const line = parseFloat(getComputedStyle(this.area).lineHeight) || 24;
    this.area.rows = Math.max(1, Math.min(Math.round((this.area.scrollHeight - 20) / line), Math.floor(TALLEST / line)));
  }

  async add(files) {
    const troubles = [];
    this.setState((state) => ({ reading: state.reading + 1, troubles: [] }));
    for (const file of files) {
      try {
        if (this.state.taken.length >= MOST) throw new Unusable(`No more than ${MOST} files go with a message.`);
        const found = await this.fitting(file, file.name || "pasted");
        const preview = found.attachment.kind === "image" ? URL.createObjectURL(found.blob) : "";
        this.setState((state) => ({ taken: [...state.taken, { ...found, preview }] }));
      } catch (error) {
        troubles.push(error instanceof Unusable ? error.message : `${file.name || "The file"} cannot be attached.`);
      }
    }
    this.setState((state) => ({ troubles, reading: state.reading - 1 }));
  }

  /** What is attached to one message goes along whole. */
  async fitting(file, name) {
    const { room } = this.props.chat.models;
    const found = await take(file, name, room);
    const used = this.state.taken.reduce((sum, { weight }) => sum + weight, 0);
    if (used + found.weight > room) {
      throw new Unusable(`${name} does not fit beside the other files: the service takes ${sizeOf(filesIn(room))} with a message.`);
    }
    return found;
  }

  drop(taken) {
    URL.revokeObjectURL(taken.preview);
    this.setState((state) => ({ taken: state.taken.filter((other) => other !== taken) }));
    this.focus();
  }

  pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (files.length && !text) {
      event.preventDefault();
      void this.add(files);
    } else if (text.length > PASTE) {
      event.preventDefault();
      const name = `pasted-${this.state.taken.length + 1}.txt`;
      void this.add([new File([text], name, { type: "text/plain" })]);
    }
  }

  dropped(event) {
    event.preventDefault();
    this.setState({ dropping: 0 });
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) void this.add(files);
  }

  key(event) {
    const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
    if (sends && (matchMedia("(hover: hover)").matches || event.ctrlKey || event.metaKey)) this.sent(event);
  }

  async sent(event) {
    event.preventDefault();
    const { chat } = this.props;
    const { text, taken, reading } = this.state;
    if (chat.running || reading || (!text.trim() && !taken.length)) return;
    hold(this.drafts, "");
    this.drafts = `draft:${chat.current.id}`;
    this.setState({ text: "", taken: [], troubles: [] }, () => this.grow());
    await chat.send(text.trim(), taken);
  }

  render({ chat }, { text, taken, troubles, dropping, reading }) {
    const over = (by) => (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      this.setState((state) => ({ dropping: state.dropping + by }));
    };
    return html`<form class="composer" aria-label="New message" onSubmit=${(event) => this.sent(event)} onDragEnter=${over(1)} onDragLeave=${over(-1)} onDragOver=${over(0)} onDrop=${(event) => this.dropped(event)}>
      <div class=${`box ${dropping > 0 ? "dropping" : ""}`}>
        ${troubles.length > 0 && html`<ul class="troubles" role="alert">${troubles.map((words) => html`<li key=${words}>${words}</li>`)}</ul>`}
        ${(taken.length > 0 || reading > 0) && html`<ul class="attached" aria-label="Attached">
          ${taken.map((found) => html`<${Taken} key=${found.attachment.id} found=${found} onDrop=${() => this.drop(found)} />`)}
          ${reading > 0 && html`<li class="chip">Reading …</li>`}
        </ul>`}
        <textarea id="message" rows="1" placeholder=${dropping > 0 ? "Drop files here" : "Ask something"} aria-label="Message" value=${text} ref=${(found) => (this.area = found)}
          onInput=${(event) => this.type(event.target.value)} onKeyDown=${(event) => this.key(event)} onPaste=${(event) => this.pasted(event)}></textarea>
        <div class="tools">
          <label class="quiet icon-button" title=${attaching(chat.models.room)}>${icon("clip")}<span class="hidden">Attach files</span>
            <input type="file" class="hidden" multiple onChange=${(event) => {
              void this.add([...event.target.files]);
              event.target.value = "";
            }} /></label>
          <${Meter} chat=${chat} />
          ${chat.running
            ? html`<button type="button" class="send" aria-label="Stop" title="Stop (Esc)" onClick=${() => chat.stop()}>${icon("stop")}</button>`
            : html`<button type="submit" class="send" aria-label="Send" title="Send (Enter)" disabled=${reading > 0 || (!text.trim() && !taken.length)}>${icon("send")}</button>`}
        </div>
      </div>
    </form>`;
  }
}

function attaching(room) {
  const most = Number.isFinite(room) ? `, ${sizeOf(filesIn(room))} with a message` : "";
  return `Attach pictures, PDFs or text files${most}`;
}

function Taken({ found, onDrop }) {
  const { attachment, preview } = found;
  return html`<li class="chip">
    ${preview ? html`<img src=${preview} alt="" />` : icon("file", 16)}<span>${attachment.name}</span><small>${sizeOf(attachment.size)}</small>
    <${IconButton} name="close" size="14" label=${`Remove ${attachment.name}`} onClick=${onDrop} />
  </li>`;
}

/** What the conversation has taken so far. */
function Meter({ chat }) {
  const answers = chat.current.messages.filter((message) => message.usage);
  if (!answers.length) return html`<span class="meter"></span>`;
  const tokens = answers.reduce((sum, { usage }) => sum + usage.prompt_tokens + usage.completion_tokens, 0);
  const costs = answers.map((answer) => chat.models.cost(answer.model, answer.usage));
  const known = costs.every((cost) => cost !== null);
  const words = known ? ` · ${dollars(costs.reduce((sum, cost) => sum + cost, 0))}` : "";
  return html`<span class="meter" title="What this conversation has taken so far">${count(tokens, "token")}${words}</span>`;
}

/** The text of ?q=, which is filled in and not sent; the address is then without it. */
function asked() {
  const address = new URL(location.href);
  const text = address.searchParams.get("q") ?? "";
  if (text) {
    address.searchParams.delete("q");
    history.replaceState(null, "", address);
  }
  return text;
}
