// A JSON schema as a tree that is unfolded step by step: https://json-schema.org/draft/2020-12

import { html, useState } from "./ui.js";

const REF = "#/components/schemas/";

/** @param {{schema: object, schemas: Record<string, object>, open?: boolean}} props */
export function Shape({ schema, schemas, open = false }) {
  const found = resolved(schema, schemas);
  const inside = insides(found, schemas);
  const words = html`<code class="type">${typeOf(schema, schemas)}</code>${notes(found)}`;
  return html`<div class="shape">
    ${inside.length ? html`<${Fold} summary=${words} open=${open} inside=${inside} schemas=${schemas} />` : html`<p>${words}</p>`}
  </div>`;
}

/** What is folded is not made: schemas may hold themselves. */
function Fold({ summary, open, inside, schemas }) {
  const [shown, setShown] = useState(open);
  return html`<details open=${shown} onToggle=${(event) => setShown(event.target.open)}>
    <summary>${summary}</summary>
    ${shown && html`<dl class="fields-list">${inside.map(({ name, schema, needed, description }) => html`<div key=${name}>
      <dt><code>${name}</code>${needed && html` <small>needed</small>`}</dt>
      <dd>${description && html`<p class="faint">${description}</p>`}<${Shape} schema=${schema} schemas=${schemas} /></dd></div>`)}</dl>`}
  </details>`;
}

function resolved(schema, schemas) {
  let found = schema ?? {};
  for (let steps = 0; found.$ref && steps < 8; steps += 1) found = { ...(schemas[found.$ref.replace(REF, "")] ?? {}), ...withoutRef(found) };
  return found;
}

function withoutRef({ $ref: _, ...rest }) {
  return rest;
}

/** The fields of an object, or of what an array or a choice holds. */
function insides(schema, schemas) {
  if (schema.properties) {
    const needed = new Set(schema.required ?? []);
    return Object.entries(schema.properties).map(([name, inner]) => ({
      name,
      schema: withoutDescription(inner),
      needed: needed.has(name),
      description: inner.description,
    }));
  }
  if (schema.items && hasInside(schema.items, schemas)) return insides(resolved(schema.items, schemas), schemas);
  const choices = choicesOf(schema).filter((choice) => hasInside(choice, schemas));
  if (choices.length === 1) return insides(resolved(choices[0], schemas), schemas);
  return choices.map((choice) => ({ name: titleOf(choice), schema: choice, needed: false }));
}

function withoutDescription({ description: _, ...rest }) {
  return rest;
}

function hasInside(schema, schemas) {
  const found = resolved(schema, schemas);
  return Boolean(found.properties || (found.items && hasInside(found.items, schemas)) || choicesOf(found).some((choice) => hasInside(choice, schemas)));
}

function choicesOf(schema) {
  return (schema.anyOf ?? schema.oneOf ?? []).filter((choice) => choice.type !== "null");
}

function titleOf(schema) {
  return schema.$ref?.replace(REF, "") ?? schema.title ?? schema.type ?? "value";
}

function typeOf(schema, schemas, depth = 0) {
  if (schema?.$ref) return titleOf(schema);
  const found = schema ?? {};
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (found.anyOf || found.oneOf) return choices(found, schemas, depth);
  if (found.type === "array") return `array of ${depth > 3 ? "…" : typeOf(found.items ?? {}, schemas, depth + 1)}`;
  return Array.isArray(found.type) ? found.type.join(" | ") : (found.type ?? "any");
}

function choices(found, schemas, depth) {
  const names = (found.anyOf ?? found.oneOf).map((choice) => typeOf(choice, schemas, depth + 1));
  return [...new Set(names)].filter((name) => name !== "null").join(" | ") || "null";
}

function notes(schema) {
  const told = [];
  if (schema.minimum !== undefined || schema.maximum !== undefined) told.push(`${schema.minimum ?? "…"} to ${schema.maximum ?? "…"}`);
  if (schema.default !== undefined && schema.default !== null) told.push(`default ${JSON.stringify(schema.default)}`);
  if (schema.pattern) told.push(schema.pattern);
  return told.length ? html` <small>${told.join(", ")}</small>` : null;
}
