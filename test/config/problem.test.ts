import t from "tap";
import { formatProblems, formatWarnings, quote } from "../../src/config/problem.ts";

t.test("one problem is one line", async (t) => {
  t.equal(formatProblems([{ key: "listen", message: "found x" }]), "entrepot: listen: found x\n");
});

t.test("several are counted, one line each, with their place; advice comes last", async (t) => {
  const position = { file: "m.yaml", line: 3, column: 9 };
  t.equal(
    formatProblems([
      { key: "listen", position, message: "found x", advice: ["Do this:", "  that"] },
      { key: "ENTREPOT_TAG_TTL", message: "found y" },
    ]),
    [
      "entrepot: 2 problems in the configuration",
      "  listen (m.yaml:3:9): found x",
      "  ENTREPOT_TAG_TTL: found y",
      "",
      "Do this:",
      "  that",
      "",
    ].join("\n"),
  );
});

t.test("values are quoted, escaped and cut", async (t) => {
  t.equal(quote('a"b\n\u001b[31m'), '"a\\"b\\n\\u001b[31m"');
  t.ok(quote("x".repeat(10_000)).length < 100);
});

t.test("warnings are a line each, and nothing when there are none", async (t) => {
  const position = { file: "m.yaml", line: 3, column: 9 };
  t.equal(formatWarnings([]), "");
  t.equal(
    formatWarnings([
      { key: "a", position, message: "x" },
      { key: "b", message: "y" },
    ]),
    "entrepot: warning: a (m.yaml:3:9): x\nentrepot: warning: b: y\n",
  );
});
