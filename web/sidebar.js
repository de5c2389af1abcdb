// The list of conversations: search, rename, delete, export, import.

import { save } from "./api.js";
import { matches, titleOf } from "./conversation.js";
import { preference, prefer } from "./store.js";
import { Component, IconButton, count, html, icon } from "./ui.js";

const DAY = 24 * 3600 * 1000;
const THEMES = [
  ["auto", "auto", "Theme of the system"],
  ["light", "sun", "Light theme"],
  ["dark", "moon", "Dark theme"],
];

export class Sidebar extends Component {
  constructor() {
    super();
    this.state = { search: "", renaming: "", said: "" };
  }

  async exportAll() {
    const { chat } = this.props;
    save(await chat.exported(), `conversations-${new Date().toISOString().slice(0, 10)}.json`);
  }

  async importFile(event) {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    try {
      this.setState({ said: `${count(await this.props.chat.imported(await file.text()), "conversation")} imported` });
    } catch {
      this.setState({ said: `${file.name} is no file of conversations` });
    }
  }

  askDelete(conversations, title) {
    const { chat, open } = this.props;
    open({ confirm: () => chat.remove(conversations), title, words: "This cannot be undone.", yes: "Delete" });
  }

  render({ chat, open, onSelect, onFresh, onClose }, { search, renaming, said }) {
    const found = chat.conversations.filter((conversation) => matches(conversation, search));
    return html`<aside class="sidebar" aria-label="Conversations">
      <div class="sidebar-head">
        <span class="brand"><img src=${new URL("./icon.svg", import.meta.url).href} alt="" width="22" height="22" />skill-agent</span>
        <span class="narrow-only"><${IconButton} name="close" label="Hide conversations" onClick=${onClose} /></span>
      </div>
      <button type="button" class="new" onClick=${onFresh}>${icon("plus")} New conversation</button>
      <label class="search"><span class="hidden">Search conversations</span>${icon("search", 16)}
        <input id="search" type="search" placeholder="Search" value=${search} onInput=${(event) => this.setState({ search: event.target.value })} />
      </label>
      <nav class="list" aria-label="Kept conversations" tabindex="-1">
        ${groups(found).map(([title, rows]) => html`<section key=${title}><h2>${title}</h2><ul>
          ${rows.map((row) => html`<${Row} key=${row.id} row=${row} chat=${chat} renaming=${renaming === row.id} onSelect=${onSelect}
            onRename=${(on) => this.setState({ renaming: on ? row.id : "" })}
            onDelete=${() => this.askDelete([row], `Delete “${titleOf(row)}”?`)} />`)}
        </ul></section>`)}
        ${!found.length && html`<p class="faint">${search ? "Nothing found" : "Conversations are kept in this browser."}</p>`}
      </nav>
      <p class="said" role="status">${said}</p>
      <div class="sidebar-foot">
        <${Theme} />
        <span class="foot-actions">
          <a class="quiet icon-button" href="docs" target="_blank" rel="noopener" aria-label="API documentation" title="API documentation">${icon("docs")}</a>
          <${IconButton} name="keys" label="Keyboard" onClick=${() => open("keys")} />
          <label class="quiet icon-button" title="Import conversations">${icon("up")}<span class="hidden">Import conversations</span>
            <input type="file" class="hidden" accept="application/json,.json" onChange=${(event) => this.importFile(event)} /></label>
          <${IconButton} name="down" label="Export conversations" disabled=${!chat.conversations.length} onClick=${() => this.exportAll()} />
          <${IconButton} name="trash" label="Delete all conversations" disabled=${!chat.conversations.length}
            onClick=${() => this.askDelete(chat.conversations, `Delete all ${count(chat.conversations.length, "conversation")}?`)} />
        </span>
      </div>
    </aside>`;
  }
}

function Row({ row, chat, renaming, onSelect, onRename, onDelete }) {
  const title = titleOf(row);
  const current = row === chat.current;
  if (renaming) {
    const done = (event) => {
      onRename(false);
      if (event.target.value.trim() !== title) chat.rename(row, event.target.value);
    };
    const key = (event) => {
      if (event.key === "Enter") done(event);
      if (event.key === "Escape") onRename(false);
      event.stopPropagation();
    };
    return html`<li><input class="rename" aria-label="Title" value=${title} onBlur=${done} onKeyDown=${key} ref=${selected} /></li>`;
  }
  return html`<li class=${current ? "row current" : "row"}>
    <button type="button" class="row-title" aria-current=${current ? "true" : undefined} title=${title} onClick=${() => onSelect(row)}>
      ${chat.runs.has(row.id) && html`<span class="dot" role="img" aria-label="Being answered"></span>`}<span>${title}</span>
    </button>
    <span class="row-actions">
      <${IconButton} name="edit" size="15" label=${`Rename ${title}`} onClick=${() => onRename(true)} />
      <${IconButton} name="trash" size="15" label=${`Delete ${title}`} onClick=${onDelete} />
    </span>
  </li>`;
}

function selected(input) {
  if (input && document.activeElement !== input) input.select();
}

class Theme extends Component {
  constructor() {
    super();
    this.state = { chosen: preference("theme") ?? "auto" };
  }

  choose(chosen) {
    prefer("theme", chosen === "auto" ? null : chosen);
    if (chosen === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    this.setState({ chosen });
  }

  render(_, { chosen }) {
    return html`<span class="theme" role="group" aria-label="Theme">
      ${THEMES.map(([name, drawn, label]) => html`<button type="button" key=${name} class="quiet icon-button" aria-label=${label} title=${label}
        aria-pressed=${chosen === name} onClick=${() => this.choose(name)}>${icon(drawn, 16)}</button>`)}
    </span>`;
  }
}

/** By when they were last changed; none is empty. */
function groups(rows) {
  const today = new Date().setHours(0, 0, 0, 0);
  const titles = [["Today", today], ["Yesterday", today - DAY], ["The last 7 days", today - 6 * DAY], ["Earlier", -Infinity]];
  const found = new Map();
  for (const row of rows) {
    const [title] = titles.find(([, from]) => row.updated >= from);
    found.set(title, [...(found.get(title) ?? []), row]);
  }
  return [...found];
}
