// The state of the page and what can be done with it. Components draw it and call these methods.

import { close, newAnswer } from "./answer.js";
import { Trouble, getJson, hold, held, keepKey } from "./api.js";
import { exported, imported, newConversation, newQuestion, wireOf } from "./conversation.js";
import { Models } from "./models.js";
import { run } from "./run.js";
import { Store, prefer, preference } from "./store.js";

const SAVE_EVERY = 1500; // milliseconds, while an answer comes
const NAMED = 5; // files that a line names
export const DEFAULTS = { system: "", temperature: "", maxTokens: "", effort: "" };

const CUT = { kind: "broken", message: "The page was closed before this answer was over.", detail: "", wait: 0 };

function leftOut(names) {
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : "";
  return `Left out, as the conversation has grown too large to send: ${names.slice(0, NAMED).join(", ")}${more}.`;
}

export class Chat {
  /** @param {() => void} changed is called whenever something is to be drawn anew */
  constructor(changed) {
    this.changed = changed;
    /** @type {import("./conversation.js").Conversation[]} newest first */
    this.conversations = [];
    this.current = newConversation();
    this.runs = new Map(); // by the conversation's id
    this.models = new Models();
    this.settings = { ...DEFAULTS, ...preference("settings") };
    this.model = preference("model") ?? "";
    this.skill = preference("skill") ?? "";
    this.notice = null; // what the page has to say at its top
    this.questions = []; // tools that a person has to allow
    this.needsKey = false;
    this.saved = new Map();
    this.cut = new Set(); // answers that were coming when the page was closed
    this.channel = typeof BroadcastChannel === "function" ? new BroadcastChannel("skill-agent") : null;
    if (this.channel) this.channel.onmessage = () => this.#reload();
  }

  async open() {
    this.store = await Store.open();
    if (!this.store.lasting) this.notice = { text: "This browser keeps nothing here: conversations go with the page." };
    await this.#reload(true);
    const last = held("conversation");
    const found = this.conversations.find((conversation) => conversation.id === last);
    if (found) this.current = found;
    this.changed();
    await this.loadModels();
  }

  async loadModels() {
    try {
      this.models.take(await getJson("v1/models"));
      if (this.notice?.about === "models") this.notice = null;
      this.needsKey = false;
      this.changed();
      await this.models.loadExamples(getJson);
    } catch (error) {
      if (error.kind === "key") this.askKey(error);
      else this.notice = { about: "models", text: error.message, retry: () => this.loadModels() };
    }
    this.changed();
  }

  /** `first`: what is unfinished was cut off. Later it may be coming in another tab. */
  async #reload(first = false) {
    const rows = await this.store.all("conversations").catch(() => []);
    const busy = new Map([...this.runs.values()].map((task) => [task.conversation.id, task.conversation]));
    this.conversations = rows.map((row) => busy.get(row.id) ?? this.#mended(row, first)).sort((a, b) => b.updated - a.updated);
    const again = this.conversations.find((conversation) => conversation.id === this.current.id);
    if (again) this.current = again;
    this.changed();
  }

  #mended(conversation, first) {
    for (const message of conversation.messages) {
      if (message.role !== "assistant" || message.ended) continue;
      if (first) this.cut.add(message.id);
      if (this.cut.has(message.id)) close(message, "failed", { ...CUT });
    }
    return conversation;
  }

  get running() {
    return this.runs.has(this.current.id);
  }

  get chosen() {
    return this.models.name(this.model, this.skill);
  }

  choose(model, skill) {
    this.model = model;
    this.skill = skill;
    prefer("model", model);
    prefer("skill", skill);
    this.changed();
  }

  set(settings) {
    this.settings = { ...this.settings, ...settings };
    prefer("settings", this.settings);
    this.changed();
  }

  select(conversation) {
    this.current = conversation;
    hold("conversation", conversation.messages.length ? conversation.id : "");
    this.changed();
  }

  fresh() {
    if (this.current.messages.length) this.select(newConversation());
  }

  /** @param {string} text @param {{attachment: object, blob: Blob}[]} taken */
  async send(text, taken = []) {
    const conversation = this.current;
    if (this.runs.has(conversation.id)) return;
    for (const { attachment, blob } of taken) await this.#keep("attachments", { id: attachment.id, blob });
    conversation.messages.push(newQuestion(text, taken.map(({ attachment }) => attachment)));
    await this.#answer(conversation);
  }

  /** Asks the last question once more; what came of it the last time is dropped. */
  async retry(conversation = this.current) {
    if (this.runs.has(conversation.id)) return;
    while (conversation.messages.at(-1)?.role === "assistant") conversation.messages.pop();
    if (conversation.messages.length) await this.#answer(conversation);
  }

  /** Asks a question with other words; what followed it is dropped. */
  async edit(question, text) {
    const conversation = this.current;
    const at = conversation.messages.indexOf(question);
    if (at < 0 || this.runs.has(conversation.id)) return;
    conversation.messages.splice(at, Infinity, { ...newQuestion(text, question.attachments) });
    await this.#answer(conversation);
  }

  stop(conversation = this.current) {
    this.runs.get(conversation.id)?.stop.abort();
  }

  async #answer(conversation) {
    const answer = newAnswer();
    const task = { conversation, answer, stop: new AbortController() };
    this.runs.set(conversation.id, task);
    conversation.messages.push(answer);
    conversation.updated = Date.now();
    if (!this.conversations.includes(conversation)) this.conversations.unshift(conversation);
    this.conversations.sort((a, b) => b.updated - a.updated);
    if (conversation === this.current) hold("conversation", conversation.id);
    this.changed();
    await this.save(conversation);
    try {
      const history = { ...conversation, messages: conversation.messages.slice(0, -1) };
      const { wire, left } = await wireOf(history, this.settings.system, (id) => this.attachment(id), this.models.room);
      if (left.length) answer.notes.push(leftOut(left));
      const how = { model: this.chosen, settings: this.settings, signal: task.stop.signal };
      await run(answer, wire, how, () => this.#came(conversation), (call) => this.#asked(call, task));
      close(answer, "done");
    } catch (error) {
      this.#failed(answer, error, task);
    }
    this.runs.delete(conversation.id);
    conversation.updated = Date.now();
    this.changed();
    await this.save(conversation);
  }

  #failed(answer, error, task) {
    if (task.stop.signal.aborted) return close(answer, "stopped");
    const known = error instanceof Trouble;
    if (!known) console.error(error);
    const { kind = "page", message, detail = "", wait = 0 } = known ? error : { message: "The page failed", detail: String(error) };
    close(answer, "failed", { kind, message, detail, wait, at: Date.now() });
    if (kind === "key") this.askKey(error, task.conversation);
  }

  #came(conversation) {
    this.changed();
    const last = this.saved.get(conversation.id) ?? 0;
    if (Date.now() - last > SAVE_EVERY) void this.save(conversation, false);
  }

  /** Puts a question to the person. @returns {Promise<boolean>} */
  #asked(call, task) {
    return new Promise((resolve, reject) => {
      const question = { call, settle: (yes) => over(() => resolve(yes)) };
      const over = (then) => {
        this.questions = this.questions.filter((other) => other !== question);
        this.changed();
        then();
      };
      task.stop.signal.addEventListener("abort", () => over(() => reject(task.stop.signal.reason)), { once: true });
      this.questions.push(question);
      this.changed();
    });
  }

  askKey(error, conversation = null) {
    this.needsKey = { message: error.message, detail: error.detail, conversation };
    this.changed();
  }

  async giveKey(key) {
    const { conversation } = this.needsKey || {};
    keepKey(key.trim());
    this.needsKey = false;
    await this.loadModels();
    if (conversation && !this.needsKey) await this.retry(conversation);
  }

  async rename(conversation, title) {
    conversation.title = title.trim().slice(0, 200);
    this.changed();
    await this.save(conversation);
  }

  async remove(conversations) {
    for (const conversation of conversations) this.stop(conversation);
    const gone = new Set(conversations.map((conversation) => conversation.id));
    this.conversations = this.conversations.filter((conversation) => !gone.has(conversation.id));
    if (gone.has(this.current.id)) this.select(newConversation());
    this.changed();
    const attached = conversations.flatMap((found) => found.messages.flatMap((message) => message.attachments ?? []));
    await this.store.remove("conversations", [...gone]);
    if (attached.length) await this.store.remove("attachments", attached.map(({ id }) => id));
    this.channel?.postMessage("removed");
  }

  exported(conversations = this.conversations) {
    return exported(conversations, (id) => this.attachment(id));
  }

  /** @returns {Promise<number>} how many conversations came */
  async imported(text) {
    const { conversations, attachments } = await imported(text);
    for (const row of attachments) await this.#keep("attachments", row);
    for (const conversation of conversations) await this.save(conversation);
    await this.#reload();
    return conversations.length;
  }

  attachment(id) {
    return this.store.get("attachments", id);
  }

  async save(conversation, tell = true) {
    if (!this.conversations.includes(conversation) && this.current === conversation) return;
    this.saved.set(conversation.id, Date.now());
    await this.#keep("conversations", conversation);
    if (tell) this.channel?.postMessage("saved");
  }

  async #keep(table, row) {
    try {
      await this.store.put(table, row);
    } catch {
      this.notice = { text: "The browser's storage is full: what is new is lost with the page. Export or delete conversations." };
      this.changed();
    }
  }
}
