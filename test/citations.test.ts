// Comments point only at documents, rules and numbers that exist.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import t from "tap";

const root = new URL("../", import.meta.url);
const text = (path: string): string => readFileSync(new URL(path, root), "utf8");
const numbers = (path: string): Set<string> =>
  new Set([...text(path).matchAll(/^(\d+)\. /gm)].map(([, number = ""]) => number));

const sources = ["src", "test"].flatMap((folder) =>
  readdirSync(new URL(folder, root), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.endsWith("citations.test.ts"))
    .map((name) => `${folder}/${name}`),
);

/** Comments as one line each, so that what is broken over two is seen. */
function commentsOf(path: string): string {
  const lines = text(path).split("\n");
  return lines.map((line) => /^\s*(?:\/\/|\/?\*)\s?(.*)$/.exec(line)?.[1] ?? "\n").join(" ");
}

t.test("documents", async (t) => {
  const items = numbers("docs/clients.md");
  const rules = numbers("docs/design.md");
  let cited = 0;
  for (const path of sources) {
    const comments = commentsOf(path);
    for (const [, name = ""] of comments.matchAll(/(?<![\w/.*-])((?:docs\/)?[\w-]+\.md)\b/g)) {
      cited++;
      t.ok(existsSync(new URL(name, root)), `${path}: ${name}`);
    }
    for (const [, list = ""] of comments.matchAll(/docs\/clients\.md ((?:\d+(?:, | and | to )?)+)/g))
      for (const [item] of list.matchAll(/\d+/g)) t.ok(items.has(item), `${path}: item ${item}`);
    for (const [, list = ""] of comments.matchAll(/docs\/design\.md, rules? ((?:\d+(?: and )?)+)/g))
      for (const [rule] of list.matchAll(/\d+/g)) t.ok(rules.has(rule), `${path}: rule ${rule}`);
    t.notMatch(comments, /\barticles? 00\d/, `${path}: articles are not in this repository`);
  }
  t.ok(cited > 20, `${cited} citations`);
});

t.test("tests", async (t) => {
  const documents = readdirSync(new URL("docs", root)).filter((name) => name.endsWith(".md"));
  let cited = 0;
  for (const path of ["README.md", "CONTRIBUTING.md", ...documents.map((name) => `docs/${name}`), ...sources])
    for (const [, name = ""] of (path.endsWith(".md") ? text(path) : commentsOf(path)).matchAll(
      /(?<![\w*/…])([\w./-]+\.test\.ts)\b/g,
    )) {
      cited++;
      t.ok(existsSync(new URL(name, root)), `${path}: ${name}`);
    }
  t.ok(cited > 20, `${cited} citations`);
});
