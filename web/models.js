// What the service offers: the agent, the agent with a skill, plain models.

const AGENT = "skill-agent";
const EXAMPLES = 3;
const FILLED = 0.95; // of the largest body; the rest is for what stands around the messages

export class Models {
  constructor() {
    this.loaded = false;
    this.plain = [];
    this.skills = [];
    this.examples = [];
    this.facts = new Map();
    this.room = Infinity; // bytes of a request's messages
  }

  /** @param {{data: object[], skill_agent?: {max_body?: number}}} listed by GET /v1/models */
  take({ data, skill_agent: limits }) {
    this.loaded = true;
    this.room = limits?.max_body ? Math.floor(limits.max_body * FILLED) : Infinity;
    this.facts = new Map(data.map((model) => [model.id, model.skill_agent ?? {}]));
    const names = data.map((model) => String(model.id));
    this.plain = names.filter((name) => name !== AGENT && !name.startsWith(`${AGENT}:`));
    this.skills = names
      .filter((name) => name.startsWith(`${AGENT}:`))
      .map((name) => ({ name: name.slice(AGENT.length + 1), description: this.facts.get(name).description ?? "" }));
  }

  /** Prompts that the skills' authors wrote, one of each of the first skills. */
  async loadExamples(getJson) {
    const asked = this.skills.slice(0, EXAMPLES * 2).map(async ({ name }) => {
      const found = await getJson(`v1/models/${AGENT}:${encodeURIComponent(name)}`).catch(() => ({}));
      return (found.skill_agent?.examples ?? []).map((prompt) => ({ skill: name, prompt: String(prompt) }));
    });
    const found = (await Promise.all(asked)).filter((prompts) => prompts.length);
    const inTurn = [0, 1, 2].flatMap((at) => found.map((prompts) => prompts[at]).filter(Boolean));
    this.examples = inTurn.slice(0, EXAMPLES);
  }

  /** The name to ask for; one that is not served any more gives way to the agent. */
  name(model, skill) {
    if (model && model !== AGENT && (!this.loaded || this.plain.includes(model))) return model;
    const known = !this.loaded || this.skills.some((found) => found.name === skill);
    return skill && known ? `${AGENT}:${skill}` : AGENT;
  }

  description(skill) {
    return this.skills.find((found) => found.name === skill)?.description ?? "";
  }

  /** US dollars of an answer's tokens, null where the prices are not known. */
  cost(model, usage) {
    const prices = this.facts.get(model)?.prices ?? this.facts.get(AGENT)?.prices;
    if (!prices || !usage || prices.input == null || prices.output == null) return null;
    const read = usage.cached_tokens ?? 0;
    const written = usage.cache_write_tokens ?? 0;
    const fresh = Math.max(usage.prompt_tokens - read - written, 0);
    const dollars =
      fresh * prices.input +
      read * (prices.cache_read ?? prices.input) +
      written * (prices.cache_write ?? prices.input) +
      usage.completion_tokens * prices.output;
    return dollars / 1e6;
  }
}
