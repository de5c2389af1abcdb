// Reasoning and tools in one group that is folded: a card for each skill, a line for each other tool.

import { FileButton } from "./message.js";
import { Component, count, duration, html, icon } from "./ui.js";

const ACTIVATE = "activate_skill";
const SKILL_TOOLS = { read_skill_file: "skill", run_skill_script: "skill", [ACTIVATE]: "name" };
const DOING = {
  [ACTIVATE]: "Loading a skill",
  read_skill_file: "Reading",
  run_skill_script: "Running a script",
  find_skill: "Looking for a skill",
  write_file: "Writing a file",
  edit_file: "Editing a file",
  read_file: "Reading a file",
  task: "Working on a part",
};

export class Work extends Component {
  constructor() {
    super();
    this.state = { open: false };
  }

  render({ part, files, running, chat }, { open }) {
    return html`<details class="work" open=${open} onToggle=${(event) => this.setState({ open: event.target.open })}>
      <summary>${icon("chevron", 16)}<span class=${running ? "doing" : ""}>${running ? doing(part) : worked(part)}</span></summary>
      ${open && html`<div class="work-items">${entries(part, chat).map((entry, at) => html`<${Entry} key=${at} entry=${entry} files=${files} />`)}</div>`}
    </details>`;
  }
}

function worked(part) {
  const tools = part.items.filter((item) => item.kind === "tool").length;
  const words = [duration(part.ended - part.begun)];
  if (tools) words.push(count(tools, "tool"));
  const skills = [...new Set(part.items.filter((item) => item.kind === "skill").map((item) => item.name))];
  return `${tools || skills.length ? "Worked" : "Thought"} for ${[...words, ...skills].join(tools || skills.length ? " · " : "")}`;
}

function doing(part) {
  const last = part.items.at(-1);
  if (last?.kind !== "tool" || last.result !== null) return last?.kind === "reasoning" ? "Thinking …" : "Working …";
  const given = argumentsOf(last);
  const about = given.path ?? given.script ?? given.name ?? "";
  return `${DOING[last.name] ?? last.name}${about ? ` ${String(about).slice(0, 60)}` : ""} …`;
}

function argumentsOf(item) {
  try {
    const found = JSON.parse(item.given || "{}");
    return found && typeof found === "object" ? found : {};
  } catch {
    return {};
  }
}

/** Thoughts, tools and notes in their order; all that belongs to one skill in its card, where it was first used. */
function entries(part, chat) {
  const cards = new Map();
  const found = [];
  const card = (name) => {
    if (!cards.has(name)) {
      cards.set(name, { kind: "card", name, description: chat.models.description(name), items: [] });
      found.push(cards.get(name));
    }
    return cards.get(name);
  };
  for (const item of part.items) {
    const skill = item.kind === "tool" && SKILL_TOOLS[item.name] ? argumentsOf(item)[SKILL_TOOLS[item.name]] : null;
    if (item.kind === "skill") card(item.name);
    else if (typeof skill === "string") card(skill).items.push(item);
    else found.push(item);
  }
  return found;
}

function Entry({ entry, files }) {
  if (entry.kind === "card") return html`<${Card} card=${entry} files=${files} />`;
  if (entry.kind === "reasoning") return html`<div class="thought">${icon("thought", 16)}<div>${entry.text}</div></div>`;
  if (entry.kind === "note") return html`<p class="faint">${entry.text}</p>`;
  return html`<${ToolLine} item=${entry} label=${entry.name} />`;
}

function Card({ card, files }) {
  const made = new Set(card.items.flatMap((item) => (item.name === "run_skill_script" ? madeBy(item.result) : [])));
  const kept = files.filter((file) => made.has(file.path));
  const rest = card.items.filter((item) => item.name !== ACTIVATE || item.isError);
  return html`<section class="card" aria-label=${`Skill ${card.name}`}>
    <header>${icon("skill", 16)}<strong>${card.name}</strong></header>
    ${card.description && html`<p class="faint">${card.description}</p>`}
    ${rest.map((item) => html`<${ToolLine} key=${item.id} item=${item} label=${labelOf(item)} />`)}
    ${kept.length > 0 && html`<ul class="files">${kept.map((file) => html`<li key=${file.id}><${FileButton} file=${file} /></li>`)}</ul>`}
  </section>`;
}

function labelOf(item) {
  const given = argumentsOf(item);
  if (item.name === "read_skill_file") return `Read ${given.path ?? "a file"}`;
  if (item.name === "run_skill_script") return `Ran ${given.script ?? "a script"}`;
  return item.name;
}

/** Paths in the line of a script's result that names them: `made: a.csv (1,024 bytes), …`. */
function madeBy(result) {
  const line = /^made: (.*)$/m.exec(result ?? "")?.[1] ?? "";
  return [...line.matchAll(/(?:^|, )(.+?) \([\d,]+ bytes\)/g)].map(([, path]) => path);
}

function outcome(item) {
  if (item.result === null) return item.cut ? "not finished" : "running";
  const code = /^exit code (-?\d+)/.exec(item.result)?.[1];
  const words = code ? `exit ${code}` : item.isError ? "failed" : "";
  return [words, item.seconds >= 0.05 ? duration(item.seconds * 1000) : ""].filter(Boolean).join(" · ");
}

/** What a tool was given and what came of it: text, never Markdown. */
function ToolLine({ item, label }) {
  return html`<details class=${`tool ${item.isError ? "failed" : ""}`}>
    <summary>${icon(item.name === "read_skill_file" ? "file" : "tool", 15)}<span class="tool-name">${label}</span><small>${outcome(item)}</small></summary>
    ${item.given && item.given !== "{}" && html`<h4>Given</h4><pre tabindex="0">${pretty(item.given)}</pre>`}
    ${item.result !== null && html`<h4>Result</h4><pre tabindex="0">${item.result || "(nothing)"}</pre>`}
  </details>`;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
