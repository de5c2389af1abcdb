// The settings: kept in this browser, the key in this tab only.

import { apiKey, keepKey } from "./api.js";
import { DEFAULTS } from "./chat.js";
import { Dialog, html, useState } from "./ui.js";

const EFFORTS = ["", "minimal", "low", "medium", "high"];

export function Settings({ chat, onClose }) {
  const [draft, setDraft] = useState({ ...chat.settings, key: apiKey() });
  const bound = (name) => ({ value: draft[name], onInput: (event) => setDraft({ ...draft, [name]: event.target.value }) });
  const save = (event) => {
    event.preventDefault();
    const { key, ...settings } = draft;
    chat.set({ ...settings, temperature: ranged(settings.temperature, 0, 2), maxTokens: ranged(settings.maxTokens, 1, 1e7) });
    if (key.trim() !== apiKey()) {
      keepKey(key.trim());
      void chat.loadModels();
    }
    onClose();
  };
  return html`<${Dialog} title="Settings" onClose=${onClose}>
    <form class="fields" onSubmit=${save}>
      <label>System prompt<textarea rows="4" placeholder="Said before every conversation, beside the agent's own" ...${bound("system")}></textarea></label>
      <div class="two">
        <label>Temperature<input type="number" min="0" max="2" step="0.1" placeholder="the model's own" ...${bound("temperature")} /></label>
        <label>Most tokens of an answer<input type="number" min="1" step="1" placeholder="no limit" ...${bound("maxTokens")} /></label>
      </div>
      <label>Reasoning effort<select ...${bound("effort")} onChange=${(event) => setDraft({ ...draft, effort: event.target.value })}>
        ${EFFORTS.map((effort) => html`<option key=${effort} value=${effort}>${effort || "the model's own"}</option>`)}
      </select></label>
      <label>Key of the service<input type="password" autocomplete="off" spellcheck="false" placeholder="none" ...${bound("key")} />
        <small>Kept for this tab only, and sent to this service only.</small></label>
      <div class="buttons">
        <button type="button" onClick=${() => setDraft({ ...DEFAULTS, key: draft.key })}>Reset</button>
        <button type="submit" class="primary">Save</button>
      </div>
    </form>
  <//>`;
}

/** A number in a range as text, "" for none. */
function ranged(text, least, most) {
  const number = Number(text);
  return text === "" || !Number.isFinite(number) ? "" : String(Math.min(most, Math.max(least, number)));
}
