// What components share: the library's names, icons, buttons.

import { Component, h, html, render, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.standalone.module.js";

export { Component, h, html, render, useEffect, useLayoutEffect, useRef, useState };

const ICONS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  clip: "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.3 3.3 0 0 1 4.7 4.7l-8.5 8.4a1.7 1.7 0 0 1-2.4-2.4L14.5 7",
  copy: "M9 9h10v11H9zM5 15V4h10",
  retry: "M4 12a8 8 0 1 0 2.6-5.900M4 4v5h5",
  edit: "M4 20l1-4.500L16.5 4a2.1 2.1 0 0 1 3 3L8.5 19 4 20z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  down: "M12 4v11M7 11l5 5 5-5M5 20h14",
  below: "M12 5v14M6 13l6 6 6-6",
  up: "M12 16V5M7 9l5-5 5 5M5 20h14",
  close: "M6 6l12 12M18 6L6 18",
  check: "M5 12.500l4.5 4.500L19 7.5",
  chevron: "M9 6l6 6-6 6",
  settings: "M4 7h9M17 7h3M15 4.500v5M4 17h3M11 17h9M9 14.500v5",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  moon: "M20 14.500A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.500z",
  auto: "M12 3.500a8.5 8.5 0 1 0 0 17zM12 3.500a8.5 8.5 0 0 1 0 17",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  skill: "M12 3l2.3 6.200L21 11l-6.7 1.800L12 21l-2.3-8.200L3 11l6.7-1.800z",
  tool: "M14.5 5.500a4 4 0 0 0-5 5L4 16l4 4 5.5-5.500a4 4 0 0 0 5-5L16 12l-4-4z",
  thought: "M12 4a6 6 0 0 0-3.5 10.900V18h7v-3.100A6 6 0 0 0 12 4zM9.5 21h5",
  docs: "M8 6l-5 6 5 6M16 6l5 6-5 6M13.5 4l-3 16",
  keys: "M3 7h18v11H3zM7 11h.01M11 11h.01M15 11h.01M8 15h8",
  note: "M12 8v5M12 16.500v.01M12 3.500a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z",
};

/** @param {string} name @param {number} size */
export function icon(name, size = 18) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}

/** A button that is an icon; its words are for screen readers and on hover. */
export function IconButton({ name, label, onClick, size, ...more }) {
  return html`<button type="button" class="quiet icon-button" aria-label=${label} title=${label} onClick=${onClick} ...${more}>
    ${icon(name, size)}
  </button>`;
}

/** A native dialog: it keeps the focus and Escape closes it. */
export function Dialog({ title, onClose, children, className = "" }) {
  const ref = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    ref.current.showModal();
    return () => before?.isConnected && before.focus?.();
  }, []);
  const outside = (event) => event.target === ref.current && onClose();
  return html`<dialog ref=${ref} class=${className} aria-labelledby="dialog-title" onClose=${onClose} onClick=${outside}>
    <div class="dialog-body">
      <header class="dialog-head"><h2 id="dialog-title">${title}</h2><${IconButton} name="close" label="Close" onClick=${onClose} /></header>
      ${children}
    </div>
  </dialog>`;
}

/** @param {string} text @returns {Promise<boolean>} */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyOld(text);
  }
}

/** Browsers give no clipboard to pages that came over plain http from another machine. */
function copyOld(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/** @param {number} ms */
export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 10) return `${Math.max(0.1, seconds).toFixed(1).replace(/\.0$/, "")} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

export function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

export function dollars(amount) {
  return amount < 0.01 ? `$${amount.toPrecision(2)}` : `$${amount.toFixed(2)}`;
}
