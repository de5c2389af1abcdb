// What was said, and where nothing was said yet, what can be asked.

import { AnswerView, QuestionView } from "./message.js";
import { Component, html, icon } from "./ui.js";

const NEAR = 48; // pixels from the end that count as being there
const REMEMBERED = 12; // announced blocks that stay in the page

export class Thread extends Component {
  constructor() {
    super();
    this.follows = false;
    this.state = { away: false };
    this.announce = this.announce.bind(this);
  }

  componentDidMount() {
    // Blocks grow after they were drawn, as pictures come and code is coloured.
    this.grown = new ResizeObserver(() => this.follow());
    this.grown.observe(this.inner);
    this.grown.observe(this.outer);
  }

  componentWillUpdate(next) {
    const { current } = next.chat;
    const count = current.messages.length;
    if (current.id !== this.shown || count > this.count) this.follows = count > 0;
    if (current.id !== this.shown) this.voice?.replaceChildren();
    this.shown = current.id;
    this.count = count;
  }

  componentDidUpdate() {
    this.follow();
  }

  follow() {
    if (this.follows && this.outer) this.outer.scrollTop = this.outer.scrollHeight;
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.outer;
    const left = scrollHeight - scrollTop - clientHeight;
    this.follows = left < NEAR;
    if (this.state.away !== left > 240) this.setState({ away: left > 240 });
  }

  /** A block that is over is read out, never its pieces. */
  announce(words) {
    const said = document.createElement("p");
    said.textContent = words.slice(0, 2000);
    this.voice.append(said);
    while (this.voice.childElementCount > REMEMBERED) this.voice.firstElementChild.remove();
  }

  toEnd() {
    this.follows = true;
    this.follow();
  }

  render({ chat, onExample }, { away }) {
    const { current, notice } = chat;
    const last = current.messages.at(-1);
    return html`<main class="thread" aria-label="Conversation" aria-busy=${chat.running} ref=${(found) => (this.outer = found)} onScroll=${() => this.scrolled()}>
      <div class="column" ref=${(found) => (this.inner = found)}>
        ${notice && html`<div class="notice" role="status">${icon("note")}<span>${notice.text}</span>
          ${notice.retry && html`<button type="button" class="small" onClick=${notice.retry}>Try again</button>`}</div>`}
        ${current.messages.length === 0 && html`<${Welcome} chat=${chat} onExample=${onExample} />`}
        ${current.messages.map((message) =>
          message.role === "user"
            ? html`<${QuestionView} key=${message.id} chat=${chat} message=${message} locked=${chat.running} />`
            : html`<${AnswerView} key=${message.id} chat=${chat} message=${message} last=${message === last} locked=${chat.running} announce=${this.announce} />`,
        )}
      </div>
      ${away && html`<button type="button" class="to-end" onClick=${() => this.toEnd()} aria-label="To the newest message" title="To the newest message">${icon("below")}</button>`}
      <div class="hidden" role="log" aria-live="polite" aria-label="Answer" ref=${(found) => (this.voice = found)}></div>
    </main>`;
  }
}

function Welcome({ chat, onExample }) {
  const { skills, examples } = chat.models;
  return html`<section class="welcome">
    <h1>What can I do for you?</h1>
    <p class="lead">An agent that works with skills: instructions, references and scripts that it loads when a question needs them.</p>
    ${examples.length > 0 && html`<ul class="examples" aria-label="Examples">
      ${examples.map(({ skill, prompt }) => html`<li key=${prompt}><button type="button" onClick=${() => onExample(prompt)}>
        <span>${prompt}</span><small>${skill}</small></button></li>`)}
    </ul>`}
    ${skills.length > 0 && html`<h2>${skills.length === 1 ? "One skill" : `${skills.length} skills`}</h2>
      <dl class="skills">${skills.map(({ name, description }) => html`<div key=${name}><dt>${icon("skill", 15)}${name}</dt><dd>${description}</dd></div>`)}</dl>`}
    ${chat.models.loaded && skills.length === 0 && html`<p class="faint">No skills are installed: the agent answers with what it knows.</p>`}
  </section>`;
}
