import t from "tap";
import { jsonSchema } from "../../src/config/json-schema.ts";
import { settings, valueAt } from "../../src/config/settings.ts";

const schema = jsonSchema();

/** What the schema says of a key. */
function propertyAt(path: readonly string[]): unknown {
  return valueAt(
    schema,
    path.flatMap((name) => ["properties", name]),
  );
}

t.test("every setting is in it, with its description and default", async (t) => {
  for (const { path, key, description, default: value } of settings)
    t.match(propertyAt(path), { description, ...(value === undefined ? {} : { default: value }) }, key);
});

t.test("no other key is", async (t) => {
  t.match(schema, { type: "object", additionalProperties: false });
  t.match(propertyAt(["cache"]), { additionalProperties: false });
  t.match(propertyAt(["tags", "rules"]), {
    items: { additionalProperties: false, required: ["match", "ttl"] },
  });
});

t.test("values as YAML has them, or a variable in their place", async (t) => {
  t.match(propertyAt(["catalog"]), { anyOf: [{ type: "boolean" }, { type: "string" }] });
  t.match(propertyAt(["upstream", "segments"]), {
    anyOf: [{ type: "integer", minimum: 1, maximum: 16 }, {}],
  });
  t.match(propertyAt(["log", "format"]), { anyOf: [{ enum: ["auto", "json", "text", "combined"] }, {}] });
  t.match(propertyAt(["cache", "dir"]), { type: ["string", "number"] });
});

t.test("a single value where a list is meant, and a name for what is asked next", async (t) => {
  t.match(propertyAt(["upstream", "allow"]), {
    anyOf: [{ type: "array", maxItems: 100 }, { type: ["string", "number"] }],
  });
  t.match(propertyAt(["upstream", "next"]), { anyOf: [{ type: "string" }, { type: "object" }] });
});
