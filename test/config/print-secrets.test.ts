import { inspect } from "node:util";
import fc from "fast-check";
import t from "tap";
import { loadConfig } from "../../src/config/load.ts";
import { renderConfig } from "../../src/config/print.ts";
import { formatProblems } from "../../src/config/problem.ts";

const marker = "hunter2";
/**
 * Text around the marker, with everything that means something to YAML, URLs and shells; but for `${hunter2}`, which names
 * a variable of the environment, and its name is told when it is not set.
 */
const secrets = fc
  .tuple(
    fc.string({ unit: "grapheme-ascii", maxLength: 6 }),
    fc.string({ unit: "grapheme-ascii", maxLength: 6 }),
  )
  .map(([before, after]) => before + marker + after)
  .filter((secret) => !/\$\{\w*hunter2/.test(secret));

/** Everything a person could come to see of a configuration, whether it is right or wrong. */
function everythingPrinted(yaml: string | undefined, env: Record<string, string>, password = ""): string {
  const file = yaml === undefined ? undefined : { path: "m.yaml", text: yaml };
  const result = loadConfig({ file, env, readFile: () => password });
  const text = result.ok ? renderConfig(result) : formatProblems(result.problems);
  return [text, inspect(result, { depth: null, showHidden: true }), JSON.stringify(result)].join("\n");
}

const url = "https://registry.example.com";
const places: Readonly<Record<string, (secret: string) => string>> = {
  "a YAML password": (secret) =>
    everythingPrinted(`upstream:\n  url: ${url}\n  username: u\n  password: ${secret}\n`, {}),
  "a YAML password in a flow mapping": (secret) =>
    everythingPrinted(`upstream: {url: "${url}", username: u, password: ${secret}}\n`, {}),
  "a YAML password in quotes": (secret) =>
    everythingPrinted(`upstream:\n  url: ${url}\n  username: u\n  password: "${secret}"\n`, {}),
  "a YAML password without the space": (secret) =>
    everythingPrinted(`upstream:\n  url: ${url}\n  password:${secret}\n`, {}),
  "an upstream of a list": (secret) =>
    everythingPrinted(
      `upstreams:\n  - name: a\n    url: ${url}\n    username: u\n    password: ${secret}\n`,
      {},
    ),
  "an upstream of a list, in a flow mapping": (secret) =>
    everythingPrinted(`upstreams: [{name: a, url: "${url}", username: u, password: ${secret}}]\n`, {}),
  "an upstream of a list, without the space": (secret) =>
    everythingPrinted(`upstreams:\n  - name: a\n    url: ${url}\n    password:${secret}\n`, {}),
  "a whole header": (secret) =>
    everythingPrinted(`upstream:\n  url: ${url}\n  authorization: ${secret}\n`, {}),
  "a whole header with its scheme": (secret) =>
    everythingPrinted(`upstream: {url: "${url}", authorization: Bearer ${secret}}\n`, {}),
  "a file with a whole header": (secret) =>
    everythingPrinted(`upstream:\n  url: ${url}\n  authorizationFile: /p\n`, {}, `${secret}\nsecond line`),
  "the file of a key": (secret) =>
    everythingPrinted(`upstream:\n  url: ${url}\n  tls: {cert: /p, key: /p}\n`, {}, secret),
  "the environment": (secret) =>
    everythingPrinted(undefined, {
      ENTREPOT_UPSTREAM_URL: url,
      ENTREPOT_UPSTREAM_USERNAME: "u",
      ENTREPOT_UPSTREAM_PASSWORD: secret,
      ENTREPOT_UPSTREAM_PASWORD: secret,
    }),
  "the environment, alone": (secret) => everythingPrinted(undefined, { ENTREPOT_UPSTREAM_PASSWORD: secret }),
  "a password file": (secret) =>
    everythingPrinted(
      undefined,
      { ENTREPOT_UPSTREAM_URL: url, ENTREPOT_UPSTREAM_USERNAME: "u", ENTREPOT_UPSTREAM_PASSWORD_FILE: "/p" },
      `${secret}\nsecond line`,
    ),
  "user name and password as one": (secret) =>
    everythingPrinted(undefined, { ENTREPOT_UPSTREAM_URL: url, ENTREPOT_UPSTREAM_USERNAME: `u:${secret}` }),
  "a URL": (secret) =>
    everythingPrinted(undefined, { ENTREPOT_UPSTREAM_URL: `https://u:${secret}@registry.example.com` }),
};

for (const [place, print] of Object.entries(places)) {
  t.test(`a secret in ${place} is never printed, right or wrong`, async () => {
    fc.assert(fc.property(secrets, (secret) => !print(secret).includes(marker)));
  });
}
