import t from "tap";
import type { BlockChange, BlocksReport } from "../../../src/ops/block/block-report.ts";
import { commandLine } from "../../fixtures/command-line.ts";
import { startJsonServer } from "../../fixtures/json-server.ts";

const digest = `sha256:${"a".repeat(64)}`;

function change(changes: Partial<BlockChange> = {}): BlockChange {
  return {
    schema: 1,
    digest,
    blocked: true,
    reason: "stolen key",
    at: 1,
    stillInFile: false,
    nodes: [
      { name: "a", self: true, state: "done" },
      { name: "b", self: false, state: "told" },
    ],
    ...changes,
  };
}

t.test("a digest is blocked with its reason, and each node is told of", async (t) => {
  const { asked, url } = await startJsonServer(t, () => ({ status: 200, json: change() }));
  const line = commandLine(["block", digest, "--reason", "stolen key", "--ops", url.host]);
  t.equal(await line.exit, 0);
  t.equal(line.out(), `blocked ${digest}\n  a: done\n  b: told\n`);
  t.match(asked, [{ method: "POST", path: "/api/v1/blocks" }]);
  t.same(JSON.parse(asked[0]?.body ?? ""), { digest, reason: "stolen key" });
  const json = commandLine(["block", digest, "--reason", "x", "--json", "--ops", url.host]);
  t.equal(await json.exit, 0);
  t.match(JSON.parse(json.out()), { digest, nodes: [{ name: "a" }, { name: "b" }] });
});

t.test("a node that has not confirmed it is 1, and named", async (t) => {
  const nodes = [
    { name: "a", self: true, state: "done" },
    { name: "b", self: false, state: "unconfirmed" },
    { name: "c", self: false, state: "away" },
  ] as const;
  const { url } = await startJsonServer(t, () => ({ status: 200, json: change({ nodes }) }));
  const line = commandLine(["block", digest, "--reason", "x", "--ops", url.host]);
  t.equal(await line.exit, 1);
  t.match(line.out(), /b: HAS NOT CONFIRMED IT.*\n {2}c: IS AWAY/);
});

t.test("what is unblocked and still in the file is 1, what was not blocked too", async (t) => {
  const { asked, url } = await startJsonServer(t, ({ path }) =>
    path.includes("aaa")
      ? { status: 200, json: change({ blocked: false, reason: "", stillInFile: true }) }
      : { status: 404, json: { error: { code: "not_found", message: "it is not blocked" } } },
  );
  const line = commandLine(["unblock", "sha256:b", digest, "--ops", url.host]);
  t.equal(await line.exit, 1);
  t.match(
    line.out(),
    /^unblocked sha256:a+\n {2}a: done\n {2}b: told\n {2}it is still blocked here by the file/,
  );
  t.match(line.err(), /it is not blocked/);
  t.match(asked, [{ method: "DELETE" }, { method: "DELETE", path: /digest=sha256%3Aa+$/ }]);
});

t.test("a reason is needed, and a mirror that answers", async (t) => {
  t.equal(await commandLine(["block", digest]).exit, 2);
  t.equal(await commandLine(["block", digest, "--reason", "x", "--ops", "127.0.0.1:1"]).exit, 2);
  t.equal(await commandLine(["blocked", "--ops", "127.0.0.1:1"]).exit, 2);
});

t.test("the list has a line for each", async (t) => {
  const report: BlocksReport = {
    schema: 1,
    at: 9,
    blocks: [
      { digest, reason: "stolen key", origin: "command", blockedAt: 0, node: "a", knownParts: 3 },
      { digest: "sha256:f", reason: "feed", origin: "file", blockedAt: null, node: null, knownParts: 0 },
    ],
  };
  const { url } = await startJsonServer(t, () => ({ status: 200, json: report }));
  const line = commandLine(["blocked", "--ops", url.host]);
  t.equal(await line.exit, 0);
  t.equal(
    line.out(),
    `${digest}  1970-01-01T00:00:00.000Z at a: stolen key\nsha256:f  by the file: feed\n2 blocked digests\n`,
  );
  const json = commandLine(["blocked", "--json", "--ops", url.host]);
  t.equal(await json.exit, 0);
  t.same(JSON.parse(json.out()), report);
});
