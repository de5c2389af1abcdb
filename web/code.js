// Code in answers: a bar with its language and a copy button; colours for what highlight.js knows.

import { harmless } from "./markdown.js";

const FILES = new Map(
  Object.entries({
    bash: "bash", sh: "bash", shell: "bash", zsh: "bash", console: "bash",
    css: "css", scss: "css",
    diff: "diff", patch: "diff",
    javascript: "javascript", js: "javascript", jsx: "javascript", mjs: "javascript",
    json: "json", jsonc: "json",
    python: "python", py: "python",
    sql: "sql",
    typescript: "typescript", ts: "typescript", tsx: "typescript",
    xml: "xml", html: "xml", svg: "xml",
    yaml: "yaml", yml: "yaml",
  }),
);
const MOST = 50_000; // characters that are coloured
let core = null;
const languages = new Map();

/** Finishes a block: bars on code, frames that scroll around tables. @param {HTMLElement} block */
export function dress(block) {
  for (const pre of block.querySelectorAll("pre")) frame(pre);
  for (const table of block.querySelectorAll("table")) scrolling(table);
}

function frame(pre) {
  const code = pre.querySelector("code") ?? pre;
  const language = (/language-(\S+)/.exec(code.className)?.[1] ?? "").toLowerCase();
  const figure = element("div", "code");
  const bar = element("div", "code-bar");
  const name = element("span", "code-name");
  name.textContent = language || "text";
  const button = element("button", "quiet small");
  button.type = "button";
  button.dataset.copy = "code";
  button.textContent = "Copy";
  bar.append(name, button);
  pre.replaceWith(figure);
  pre.tabIndex = 0;
  figure.append(bar, pre);
  colour(code, FILES.get(language)).catch(() => {});
}

async function colour(code, file) {
  const text = code.textContent;
  if (!file || text.length > MOST) return;
  const highlight = await loaded(file);
  const { value } = highlight.highlight(text, { language: file, ignoreIllegals: true });
  code.replaceChildren(harmless(value));
}

async function loaded(file) {
  core ??= import("./vendor/highlight.core.min.js").then((module) => module.default);
  const highlight = await core;
  if (!languages.has(file)) {
    const module = import(`./vendor/languages/${file}.min.js`);
    languages.set(file, module.then((found) => highlight.registerLanguage(file, found.default)));
  }
  await languages.get(file);
  return highlight;
}

function scrolling(table) {
  const frame = element("div", "table");
  frame.tabIndex = 0;
  frame.role = "group";
  frame.ariaLabel = "Table";
  table.replaceWith(frame);
  frame.append(table);
}

function element(name, className) {
  const made = document.createElement(name);
  made.className = className;
  return made;
}
