// Markdown of a model, block by block: only what has changed is made anew. The text is hostile.

import { Lexer, Marked, Parser } from "./vendor/marked.esm.js";
import "./vendor/purify.min.js";
import { dress } from "./code.js";

const LONGEST = 100_000; // characters of a block that is formatted; longer ones are shown as they are, and no further
const MOST = 500_000; // characters that are looked at in one go
const BUSY = 8; // milliseconds: what takes longer is done less often
const MARKS = 2000; // of emphasis, in one paragraph
const DEEPEST = 40; // levels of quotes and lists
const NESTED = new RegExp(`^(?:[ \\t]*(?:>|[-*+]|\\d+[.)])){${DEEPEST}}|^[ \\t]{${DEEPEST * 6}}`, "m");
const TAGS = ["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em"];
TAGS.push("strong", "del", "a", "span", "table", "thead", "tbody", "tr", "th", "td", "sub", "sup", "kbd", "mark", "b", "i", "u", "s");
const PLAIN = /&lt;(\/?(?:br|sub|sup|kbd|mark|b|i|u|s|del|em|strong))\s*\/?&gt;/gi;
const CLASSES = /^(?:hljs|language)-[\w+#.-]+(?: \w+_)*$/; // what marked and highlight.js give
const CONFIG = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ["href", "class", "align", "start"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ADD_URI_SAFE_ATTR: ["align", "start"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

const purify = globalThis.DOMPurify;
purify.addHook("uponSanitizeAttribute", (_, found) => {
  // Classes of the page's own would let an answer look like a part of the page.
  if (found.attrName === "class" && !CLASSES.test(found.attrValue)) found.keepAttr = false;
});
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A" || !node.hasAttribute("href")) return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
  node.setAttribute("title", node.getAttribute("href").slice(0, 300));
});

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // Only a few tags without attributes go through; all else is shown as what was written.
    html: ({ text }) => escaped(text).replace(PLAIN, "<$1>"),
    // A picture's address can carry what was said to whoever owns it: it is a link.
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

/** @param {string} text */
export function escaped(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

/** HTML of ours or a library's, as nodes that do nothing. @param {string} html @returns {DocumentFragment} */
export function harmless(html) {
  return purify.sanitize(html, CONFIG);
}

/** The Markdown of one text, kept as nodes under `root`. */
export class Rendering {
  /** @param {HTMLElement} root @param {(text: string) => void} finished is told the words of each block that is over */
  constructor(root, finished = () => {}) {
    this.root = root;
    this.finished = finished;
    this.blocks = [];
    this.settled = 0; // blocks that more text cannot change, and their characters
    this.length = 0;
    this.told = 0;
    this.links = Object.create(null);
    this.text = "";
    this.timer = 0;
    this.next = 0; // when the page may be kept busy again
  }

  /** @param {string} text all of it @param {boolean} whole whether nothing more comes */
  update(text, whole) {
    clearTimeout(this.timer);
    const begun = performance.now();
    if (!whole && begun < this.next) {
      this.timer = setTimeout(() => this.update(text, whole), this.next - begun);
      return;
    }
    this.#draw(text, whole);
    const took = performance.now() - begun;
    this.next = took > BUSY ? begun + took * 5 : 0;
  }

  #draw(text, whole) {
    text = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    if (!text.startsWith(this.text.slice(0, this.length))) this.#reset();
    if (whole && text.length <= MOST) this.settled = this.length = 0;
    this.text = text;
    const tokens = tokensOf(text.slice(this.length), this.links);
    const again = whole && Object.keys(this.links).length > 0;
    tokens.forEach((token, at) => this.#put(this.settled + at, token, again, whole || at < tokens.length - 1));
    for (const block of this.blocks.splice(this.settled + tokens.length)) block.node.remove();
    this.#tell(whole ? this.blocks.length : this.settled + tokens.length - 1);
    if (!whole) this.#settle(tokens);
  }

  #reset() {
    this.settled = this.length = this.told = 0;
    this.links = Object.create(null);
  }

  #put(at, token, again, over) {
    const known = this.blocks[at];
    const kept = known && known.raw === token.raw && !(again && token.raw.includes("["));
    if (kept && known.over === over) return;
    if (!kept && known?.plain && isPlain(token) && token.raw.startsWith(known.raw)) return grow(known, token.raw);
    const block = kept ? known : { raw: token.raw, node: nodeOf(token), over: false, plain: isPlain(token) };
    if (over && !block.over) dress(block.node);
    block.over = over;
    if (kept) return;
    if (known) known.node.replaceWith(block.node);
    else this.root.append(block.node);
    this.blocks[at] = block;
  }

  /** The last two blocks may still change: a list goes on behind a blank line. */
  #settle(tokens) {
    for (const token of tokens.slice(0, -2)) {
      this.settled += 1;
      this.length += token.raw.length + token.gap;
    }
  }

  #tell(count) {
    const words = this.blocks.slice(this.told, count).map((block) => spoken(block.node));
    this.told = Math.max(this.told, count);
    for (const said of words) if (said) this.finished(said);
  }
}

/** A block as it is read out. @param {HTMLElement} node */
function spoken(node) {
  const rows = [...node.querySelectorAll("tr")].map((row) => [...row.cells].map((cell) => cell.textContent.trim()).join(", "));
  if (rows.length) return `Table: ${rows.join("; ")}`;
  const code = node.querySelector("pre");
  return (code ? `Code: ${code.textContent}` : node.textContent).replace(/\s+/g, " ").trim();
}

/** Blocks, with the characters of blank lines behind each as `gap`. */
function tokensOf(text, links) {
  const found = [];
  for (const token of lexed(text, links)) {
    if (token.type !== "space" && token.type !== "def") found.push(Object.assign(token, { gap: 0 }));
    else if (found.length) found.at(-1).gap += token.raw.length;
    else found.push({ type: "nothing", raw: token.raw, gap: 0 });
  }
  return found;
}

function lexed(text, links) {
  if (tooDeep(text)) return [plain(text)];
  try {
    const lexer = new Lexer(marked.defaults);
    Object.assign(lexer.tokens.links, links);
    const tokens = lexer.blockTokens(text, lexer.tokens);
    for (const { src, tokens: inside } of lexer.inlineQueue) inline(lexer, src, inside);
    Object.assign(links, tokens.links);
    // Blocks are found again by their characters: they have to add up.
    return tokens.reduce((sum, token) => sum + token.raw.length, 0) === text.length ? tokens : [plain(text)];
  } catch {
    return [plain(text)];
  }
}

/** Emphasis that never ends takes a parser a time that grows with its square. */
function inline(lexer, text, tokens) {
  if ((text.match(/[*_]/g)?.length ?? 0) > MARKS) tokens.push({ type: "text", raw: text, text, escaped: false });
  else lexer.inlineTokens(text, tokens);
}

function plain(raw) {
  return { type: "plain", raw };
}

/** What would take a parser too long, or down. */
function tooDeep(text) {
  return text.length > MOST || hasLongLine(text) || NESTED.test(text);
}

function hasLongLine(text) {
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf("\n", at);
    if ((end < 0 ? text.length : end) - at > LONGEST) return true;
    if (end < 0) return false;
    at = end + 1;
  }
  return false;
}

function isPlain(token) {
  return token.type === "plain" || token.raw.length > LONGEST;
}

function grow(block, raw) {
  const text = shown(raw);
  const { firstChild: node } = block.node;
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
  block.raw = raw;
}

/** As much as a browser can lay out in good time. */
function shown(raw) {
  if (raw.length <= LONGEST) return raw;
  return `${raw.slice(0, LONGEST)}\n… ${(raw.length - LONGEST).toLocaleString("en")} more characters: copy the answer to have them.`;
}

function nodeOf(token) {
  const node = document.createElement("div");
  node.className = "block";
  if (isPlain(token)) {
    node.className = "block plain";
    node.textContent = shown(token.raw);
  } else if (token.type !== "nothing") {
    node.append(parsed(token));
  }
  return node;
}

function parsed(token) {
  try {
    return harmless(Parser.parse([token], marked.defaults));
  } catch {
    return document.createTextNode(token.raw);
  }
}
