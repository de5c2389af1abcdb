// The bar at the top: which model and which skill answer.

import { IconButton, html } from "./ui.js";

export function Header({ chat, sidebar, onMenu, onFresh, open }) {
  const { models } = chat;
  const plain = models.plain.includes(chat.model);
  return html`<header class="bar">
    <${IconButton} name="menu" label=${sidebar ? "Hide conversations" : "Show conversations"} onClick=${onMenu} aria-expanded=${sidebar} />
    <div class="menus">
      <label class="menu"><span class="hidden">Model</span>
        <select value=${plain ? chat.model : ""} onChange=${(event) => chat.choose(event.target.value, chat.skill)}>
          <option value="">Agent</option>
          ${models.plain.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select>
      </label>
      ${models.skills.length > 0 && !plain && html`<${Skills} chat=${chat} />`}
    </div>
    <${IconButton} name="plus" label="New conversation" onClick=${onFresh} />
    <${IconButton} name="settings" label="Settings" onClick=${() => open("settings")} />
  </header>`;
}

function Skills({ chat }) {
  const { skills } = chat.models;
  const chosen = skills.some(({ name }) => name === chat.skill) ? chat.skill : "";
  return html`<label class="menu"><span class="hidden">Skill</span>
    <select value=${chosen} title=${chat.models.description(chosen)} onChange=${(event) => chat.choose(chat.model, event.target.value)}>
      <option value="">Any skill</option>
      ${skills.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
    </select>
  </label>`;
}
