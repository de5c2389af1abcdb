// Questions that wait for the person, and the map of the keys.

import { askedAbout } from "./run.js";
import { Dialog, html, useState } from "./ui.js";

const MAC = /Mac|iP/.test(navigator.platform);
const COMMAND = MAC ? "⌘" : "Ctrl";
const KEYS = [
  ["Enter", "Send"],
  ["Shift Enter", "New line"],
  ["Esc", "Stop the answer; to the message"],
  [`${COMMAND} Shift O`, "New conversation"],
  [`${COMMAND} K`, "Search conversations"],
  [`${COMMAND} B`, "Show or hide conversations"],
  [`${COMMAND} ,`, "Settings"],
  [`${COMMAND} /`, "This list"],
];

export function Keys({ onClose }) {
  return html`<${Dialog} title="Keyboard" onClose=${onClose}>
    <dl class="keys">${KEYS.map(([keys, does]) => html`<div key=${keys}><dt>${keys.split(" ").map((key) => html`<kbd>${key}</kbd>`)}</dt><dd>${does}</dd></div>`)}</dl>
  <//>`;
}

export function Confirm({ title, words, yes, confirm, onClose }) {
  const act = () => {
    onClose();
    confirm();
  };
  return html`<${Dialog} title=${title} onClose=${onClose} className="small-dialog">
    <p>${words}</p>
    <div class="buttons"><button type="button" onClick=${onClose}>Cancel</button><button type="button" class="danger" onClick=${act}>${yes}</button></div>
  <//>`;
}

/** A tool of the service that a person has to allow. */
export function Approval({ question }) {
  const { tool, given } = askedAbout(question.call);
  return html`<${Dialog} title="Allow this?" onClose=${() => question.settle(false)} className="small-dialog">
    <p>The agent wants to use <strong>${tool}</strong> with:</p>
    <pre tabindex="0">${given.slice(0, 20_000)}</pre>
    <div class="buttons">
      <button type="button" onClick=${() => question.settle(false)}>No</button>
      <button type="button" class="primary" onClick=${() => question.settle(true)}>Allow once</button>
    </div>
  <//>`;
}

export function KeyDialog({ chat }) {
  const [key, setKey] = useState("");
  const { message, detail } = chat.needsKey;
  const close = () => {
    chat.needsKey = false;
    chat.changed();
  };
  const give = (event) => {
    event.preventDefault();
    if (key.trim()) void chat.giveKey(key);
  };
  return html`<${Dialog} title=${message} onClose=${close} className="small-dialog">
    <form class="fields" onSubmit=${give}>
      ${detail && html`<p class="faint">${detail}</p>`}
      <label>Key<input type="password" autocomplete="off" spellcheck="false" value=${key} onInput=${(event) => setKey(event.target.value)} />
        <small>Kept for this tab only. What you wrote is kept too, and sent when the key is right.</small></label>
      <div class="buttons"><button type="button" onClick=${close}>Later</button><button type="submit" class="primary" disabled=${!key.trim()}>Go on</button></div>
    </form>
  <//>`;
}
