// What a setting means does not depend on where it is written.
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t from "tap";
import { z } from "zod";
import { type LoadResult, loadConfig } from "../../src/config/load.ts";
import { settings, variablePrefix } from "../../src/config/settings.ts";

const url = "https://registry.example.com";
/** Settings of one text, which both can say. */
const both = settings.filter(
  ({ env, type }) => env !== undefined && !(type instanceof z.ZodArray) && !(type instanceof z.ZodRecord),
);

function load(given: { env?: Record<string, string>; file?: object }): LoadResult {
  const file = given.file && { path: "m.yaml", text: JSON.stringify(given.file) };
  return loadConfig({ file, env: given.env ?? {}, readFile: () => "content" });
}

/** What can be compared: the settings' values, or that there are problems, and with which setting. */
function outcome(result: LoadResult): unknown {
  if (result.ok) return JSON.parse(JSON.stringify(result.values));
  return result.problems.length;
}

t.test("any text for any setting: the variable and the file come to the same, right or wrong", async () => {
  const words = [
    "true",
    "no",
    "5",
    "-1",
    "1e3",
    "10s",
    "7d",
    "forever",
    "50GB",
    "90%",
    "auto",
    "none",
    ":5000",
    "127.0.0.1:0",
    "unix:/x",
    "/tmp/x",
    "redis://h:1",
    url,
    "a,b",
    "ecr",
    "AES256",
    "team/app",
  ];
  const text = fc.oneof(
    fc.constantFrom(...words),
    fc.string({ unit: fc.constantFrom(..."ab09./:-_@%é"), minLength: 1, maxLength: 12 }),
  );
  fc.assert(
    fc.property(fc.constantFrom(...both), text, ({ env, path }, written) => {
      const isUrl = path.join(".") === "upstream.url";
      const inFile: Record<string, unknown> = isUrl ? {} : { upstream: { url } };
      let section = inFile;
      for (const name of path.slice(0, -1)) {
        const below = (section[name] ?? {}) as Record<string, unknown>;
        section[name] = below;
        section = below;
      }
      section[path.at(-1) as string] = written;
      const inEnv = {
        ...(isUrl ? {} : { ENTREPOT_UPSTREAM_URL: url }),
        [`${variablePrefix}${env}`]: written,
      };
      return isDeepStrictEqual(outcome(load({ env: inEnv })), outcome(load({ file: inFile })));
    }),
    { numRuns: 2_000 },
  );
});
