// The schema of the YAML file as JSON Schema, for editors (`entrepot schema`).
import { z } from "zod";
import { abouts, schema } from "./schema.ts";
import { traits } from "./types/text-types.ts";

type Json = Record<string, unknown>;

/** YAML scalars are taken as they are written, and may name variables of the environment. */
const variable = { type: "string", pattern: "\\$\\{[A-Za-z_]\\w*(?::-[^}]*)?\\}" };

/** JSON Schema, draft 2020-12. It knows less than the program: what a value has to look like is told by `check`. */
export function jsonSchema(): Json {
  const { $schema, properties } = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => describe(zodSchema as unknown as z.ZodType, jsonSchema as Json),
  }) as Json;
  return { $schema, title: "Entrepôt", type: "object", additionalProperties: false, properties };
}

function describe(type: z.ZodType, json: Json): void {
  const about = abouts.get(type);
  const { json: text, shorthand } = traits.get(type) ?? {};
  if (text !== undefined)
    replace(json, text.type === "string" ? { type: ["string", "number"] } : { anyOf: [text, variable] });
  if (type instanceof z.ZodObject) json.additionalProperties = false;
  if (type instanceof z.ZodArray && !(type.element instanceof z.ZodObject)) {
    // A single value is a list of one.
    replace(json, { anyOf: [{ ...json }, json.items] });
  }
  if (shorthand !== undefined) replace(json, { anyOf: [{ type: "string" }, { ...json }] });
  delete json.default;
  if (about === undefined) return;
  json.description = about.description;
  if (about.default !== undefined) json.default = about.default;
}

/** zod takes what it gave, changed, and no other. */
function replace(json: Json, by: Json): void {
  for (const key of Object.keys(json)) delete json[key];
  Object.assign(json, by);
}
