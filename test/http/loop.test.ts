import t from "tap";
import { mostMembers, passage } from "../../src/http/loop.ts";

const own = "entrepot-0a1b2c3d";

t.test("a request that went through this mirror has come back", async (t) => {
  for (const [via, names] of [
    ["1.1 entrepot-0a1b2c3d", [own]],
    ["HTTP/1.1 entrepot-0a1b2c3d", [own]],
    ["1.0 fred, 1.1 entrepot-0a1b2c3d", [own]],
    ["1.1 entrepot-0a1b2c3d (Entrepot), 2 haproxy", [own, "haproxy"]],
    ["1.1 fred, 1.1 entrepot-0a1b2c3d, 1.1 b,1.1 c:5000", [own, "b", "c:5000"]],
    ["1.1 haproxy,1.1 Entrepot-0A1B2C3D", ["Entrepot-0A1B2C3D"]],
    [" 1.1\tentrepot-0a1b2c3d ", [own]],
  ] as const)
    t.same(passage(via, own), { kind: "circle", names }, via);
});

t.test("every other request has not; its members are passed on, without comments and nonsense", async (t) => {
  for (const [via, passedOn] of [
    [undefined, undefined],
    ["", undefined],
    [",", undefined],
    ["1.1", undefined],
    ["entrepot-0a1b2c3d", undefined],
    ["1.1 entrepot-0a1b2c3e", "1.1 entrepot-0a1b2c3e"],
    ["1.1 entrepot-0a1b2c3d.example.com", "1.1 entrepot-0a1b2c3d.example.com"],
    ["1.1 haproxy (entrepot-0a1b2c3d)", "1.1 haproxy"],
    ["1.0 a , HTTP/2\tmirror.example.com:5000 (x, 1.1 y), 1.1 [::1]:80", undefined],
    ['1.1 a"b, 1.1 é, 1.1 ok', "1.1 ok"],
    [`1.1 ${"a".repeat(256)}, 1.1 ${"b".repeat(255)}`, `1.1 ${"b".repeat(255)}`],
  ] as const) {
    const passed = passage(via, own);
    if (via?.includes("HTTP/2") !== true) t.same(passed, { kind: "passes", via: passedOn }, String(via));
    else t.match(passed, { via: /^1\.0 a, HTTP\/2 mirror\.example\.com:5000, .*1\.1 \[::1\]:80$/ });
  }
});

t.test("a request through too many goes no further", async (t) => {
  const via = (count: number) => Array.from({ length: count }, (_, at) => `1.1 m${at}`).join(", ");
  t.same(passage(via(mostMembers), own), { kind: "passes", via: via(mostMembers) });
  t.same(passage(via(mostMembers + 1), own), { kind: "too_far" });
  t.match(passage(`${via(40)}, 1.1 ${own}`, own), { kind: "circle" });
});
