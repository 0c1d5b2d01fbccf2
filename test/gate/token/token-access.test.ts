import t from "tap";
import { readScopes, TokenAccess } from "../../../src/gate/token/token-access.ts";
import { SeededRandom } from "../../fixtures/seeded-random.ts";

t.test("scopes as clients write them", async (t) => {
  const cases: readonly (readonly [string, ReturnType<typeof readScopes>])[] = [
    ["repository:team/app:pull", [{ type: "repository", name: "team/app", actions: ["pull"] }]],
    [
      "repository:team/app:push,pull,pull",
      [{ type: "repository", name: "team/app", actions: ["push", "pull"] }],
    ],
    ["repository(plugin):team/app:*", [{ type: "repository", name: "team/app", actions: ["*"] }]],
    ["registry:catalog:*", [{ type: "registry", name: "catalog", actions: ["*"] }]],
    [
      "repository:a:pull  repository:b:delete",
      [
        { type: "repository", name: "a", actions: ["pull"] },
        { type: "repository", name: "b", actions: ["delete"] },
      ],
    ],
    ["", []],
  ];
  for (const [text, scopes] of cases) t.same(readScopes([text]), scopes, text);
});

t.test("what is no scope is left out", async (t) => {
  for (const text of [
    "repository",
    "repository:team/app",
    "repository::pull",
    "repository:team/app:",
    "repository:team/app:fly",
    "repository:Team/App:pull",
    "repository:../app:pull",
    "repository:team//app:pull",
    "repository:host:5000/app:pull",
    "Repository:team/app:pull",
    "registry:catalog:pull",
    "registry:secrets:*",
    "user:alice:*",
    "repository:team/app:pull\n",
    '{"type":"repository"}',
  ])
    t.same(readScopes([text]), [], text);
});

t.test("bounds", async (t) => {
  const scopes = (count: number): string[] =>
    Array.from({ length: count }, (_, at) => `repository:a${at}:pull`);
  t.equal(readScopes(scopes(64))?.length, 64);
  t.equal(readScopes(scopes(65)), undefined);
  t.equal(readScopes([scopes(65).join(" ")]), undefined);
  t.equal(readScopes([`repository:${"a".repeat(8_192)}:pull`]), undefined);
});

t.test("a token allows what its entries say, and nothing near it", async (t) => {
  const access = new TokenAccess([
    { type: "repository", name: "team/app", actions: ["pull"] },
    { type: "repository", name: "team/app", actions: ["push"] },
    { type: "repository", name: "all", actions: ["*"] },
  ]);
  t.ok(access.allows("pull", "team/app"));
  t.ok(access.allows("push", "team/app"));
  t.notOk(access.allows("delete", "team/app"));
  t.ok(access.allows("delete", "all"));
  for (const near of ["team/ap", "team/apps", "team", "team/app/", "", "__proto__", "constructor"])
    t.notOk(access.allows("pull", near), near);
  t.notOk(access.allowsCatalog);
  t.ok(new TokenAccess([{ type: "registry", name: "catalog", actions: ["*"] }]).allowsCatalog);
});

t.test("a claim of any other shape allows nothing", async (t) => {
  const shapes: unknown[] = [
    undefined,
    null,
    "repository:team/app:pull",
    {},
    [null, 1, "x", [], {}],
    [{ type: "repository", name: "team/app" }],
    [{ type: "repository", name: "team/app", actions: "pull" }],
    [{ type: "repository", name: ["team/app"], actions: ["pull"] }],
    [{ type: "Repository", name: "team/app", actions: ["pull"] }],
    [{ type: "repository", name: "team/app", actions: [["pull"], 1] }],
  ];
  for (const shape of shapes) {
    const access = new TokenAccess(shape);
    t.notOk(access.allows("pull", "team/app"), JSON.stringify(shape));
    t.notOk(access.allowsCatalog);
  }
  const many = Array.from({ length: 2_000 }, (_, at) => ({
    type: "repository",
    name: `a${at}`,
    actions: ["pull"],
  }));
  t.ok(new TokenAccess(many).allows("pull", "a999"));
  t.notOk(new TokenAccess(many).allows("pull", "a1000"), "so many are read and no more");
});

t.test("what is made of any text allows no more than the text says", async (t) => {
  const seeded = new SeededRandom(16);
  const parts = [
    "repository",
    "registry",
    ":",
    ",",
    " ",
    "*",
    "pull",
    "push",
    "team/app",
    "catalog",
    "(x)",
    "a",
    "\t",
    "..",
    "é",
  ];
  for (let round = 0; round < 5_000; round++) {
    const length = 1 + Math.floor(seeded.next() * 9);
    const text = Array.from({ length }, () => parts[Math.floor(seeded.next() * parts.length)]).join("");
    const access = new TokenAccess(readScopes([text]));
    if (access.allows("pull", "team/app"))
      t.match(` ${text} `, / repository(?:\(\w+\))?:team\/app:[a-z*,]*(?:pull|\*)[a-z*,]* /, text);
    if (access.allowsCatalog) t.match(` ${text} `, / registry(?:\(\w+\))?:catalog:\* /, text);
  }
});
