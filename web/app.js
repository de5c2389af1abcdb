// The page: what is drawn, and the keys.

import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { Approval, Confirm, KeyDialog, Keys } from "./dialogs.js";
import { Header } from "./header.js";
import { Settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { preference, prefer } from "./store.js";
import { Thread } from "./thread.js";
import { titleOf } from "./conversation.js";
import { Component, copy, html, render } from "./ui.js";

const WIDE = matchMedia("(min-width: 800px)");

class App extends Component {
  constructor() {
    super();
    this.drawn = 0;
    this.chat = new Chat(() => this.draw());
    this.state = { dialog: null, sidebar: WIDE.matches && preference("sidebar") !== false };
    this.composer = null;
  }

  /** Once a frame, however often something changes. A hidden page has no frames. */
  draw() {
    if (this.drawn) return;
    const now = () => {
      clearTimeout(this.late);
      cancelAnimationFrame(this.drawn);
      this.drawn = 0;
      this.setState({});
    };
    this.late = setTimeout(now, 250);
    this.drawn = requestAnimationFrame(now);
  }

  componentDidMount() {
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("click", copyCode);
    addEventListener("online", () => this.chat.notice?.about === "models" && this.chat.loadModels());
    void this.chat.open();
    void navigator.storage?.persisted?.();
  }

  componentDidUpdate() {
    const { current } = this.chat;
    const title = current.messages.length ? `${titleOf(current)} · skill-agent` : "skill-agent";
    if (document.title !== title) document.title = title;
  }

  open(dialog) {
    this.setState({ dialog });
  }

  toggle(shown = !this.state.sidebar) {
    this.setState({ sidebar: shown });
    if (WIDE.matches) prefer("sidebar", shown);
  }

  key(event) {
    const command = event.ctrlKey || event.metaKey;
    const pressed = event.key.toLowerCase();
    const act = (does) => {
      event.preventDefault();
      does();
    };
    if (document.querySelector("dialog[open]")) return;
    if (pressed === "escape") return act(() => this.escape());
    if (!command || event.altKey) return;
    if (event.shiftKey && pressed === "o") return act(() => this.fresh());
    if (event.shiftKey) return;
    if (pressed === "k") return act(() => this.search());
    if (pressed === "b") return act(() => this.toggle());
    if (pressed === "/") return act(() => this.open("keys"));
    if (pressed === ",") return act(() => this.open("settings"));
  }

  escape() {
    if (!WIDE.matches && this.state.sidebar) this.toggle(false);
    else if (this.chat.running) this.chat.stop();
    this.composer?.focus();
  }

  fresh() {
    this.chat.fresh();
    if (!WIDE.matches) this.toggle(false);
    this.composer?.focus();
  }

  select(conversation) {
    this.chat.select(conversation);
    if (!WIDE.matches) this.toggle(false);
    this.composer?.focus();
  }

  search() {
    this.setState({ sidebar: true }, () => document.getElementById("search")?.focus());
  }

  render() {
    const { chat } = this;
    const { dialog, sidebar } = this.state;
    const open = (name) => this.open(name);
    const close = () => this.open(null);
    return html`
      <div class=${`app ${sidebar ? "with-sidebar" : ""}`}>
        ${sidebar && html`<${Sidebar} chat=${chat} open=${open} onSelect=${(found) => this.select(found)} onFresh=${() => this.fresh()} onClose=${() => this.toggle(false)} />`}
        <div class="main" inert=${sidebar && !WIDE.matches}>
          <${Header} chat=${chat} sidebar=${sidebar} onMenu=${() => this.toggle()} onFresh=${() => this.fresh()} open=${open} />
          <${Thread} chat=${chat} onExample=${(text) => this.composer?.fill(text)} />
          <${Composer} key=${chat.current.id} chat=${chat} ref=${(found) => (this.composer = found)} />
        </div>
        ${dialog === "settings" && html`<${Settings} chat=${chat} onClose=${close} />`}
        ${dialog === "keys" && html`<${Keys} onClose=${close} />`}
        ${dialog?.confirm && html`<${Confirm} ...${dialog} onClose=${close} />`}
        ${chat.needsKey && html`<${KeyDialog} chat=${chat} />`}
        ${chat.questions.slice(0, 1).map((question) => html`<${Approval} key=${question.call.id} question=${question} />`)}
      </div>
    `;
  }
}

async function copyCode(event) {
  const button = event.target.closest?.("button[data-copy=code]");
  if (!button) return;
  const text = button.closest(".code").querySelector("pre").textContent;
  button.textContent = (await copy(text)) ? "Copied" : "Not allowed";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

render(html`<${App} />`, document.getElementById("app"));
