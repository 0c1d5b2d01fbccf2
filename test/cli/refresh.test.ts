import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import t, { type Test } from "tap";
import type { RefreshReport } from "../../src/ops/purge/purge-report.ts";
import { commandLine } from "../fixtures/command-line.ts";

const node = { self: false, was: null, is: null, checked: 0, wrong: 0, bytes: 0, problem: null };

function reportOf(...nodes: RefreshReport["nodes"]): RefreshReport {
  const image = {
    upstream: "hub",
    repository: "team/app",
    reference: "latest",
    chosenBy: "it is the only one",
  };
  return { schema: 1, at: 1, ...image, nodes };
}

async function start(t: Test, report: object, status = 200) {
  const asked: unknown[] = [];
  const server = createServer(async (request, response) => {
    asked.push([request.method, request.url, await json(request)]);
    response.writeHead(status).end(JSON.stringify(report));
  });
  server.listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  return { asked, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

t.test("what a tag was and is, on every node", async (t) => {
  const report = reportOf(
    { ...node, name: "a", self: true, state: "moved", was: "sha256:1", is: "sha256:2" },
    { ...node, name: "b", state: "new", is: "sha256:2" },
    { ...node, name: "c", state: "away" },
  );
  const { asked, address } = await start(t, report);
  const line = commandLine(["refresh", "team/app:latest", "--ops", address]);
  t.equal(await line.exit, 0);
  t.same(asked, [["POST", "/api/v1/refresh", { reference: "team/app:latest" }]]);
  t.equal(
    line.out(),
    [
      "team/app:latest from hub, for it is the only one",
      "node a: moved from sha256:1 to sha256:2",
      "node b: was not here, and is sha256:2",
      "node c: away",
      "",
    ].join("\n"),
  );
  const asJson = commandLine(["refresh", "team/app:latest", "--json", "--ops", address]);
  t.equal(await asJson.exit, 0);
  t.strictSame(JSON.parse(asJson.out()), report);
});

t.test("each state has its words, and its exit code", async (t) => {
  const cases: readonly [Partial<RefreshReport["nodes"][0]>, RegExp, number][] = [
    [{ state: "unchanged", is: "sha256:1" }, /: unchanged, sha256:1$/m, 0],
    [{ state: "gone", was: "sha256:1" }, /does not have it or refuses it; it was sha256:1$/m, 1],
    [{ state: "sound", checked: 3, bytes: 1_000 }, /: right: 3 parts hashed, 1\.00 kB$/m, 0],
    [{ state: "fetched", checked: 3, wrong: 1 }, /1 part wrong or missing, and fetched again$/m, 0],
    [{ state: "running", checked: 3 }, /so far, and it goes on$/m, 0],
    [{ state: "failed", problem: "no luck" }, /: failed: no luck$/m, 1],
  ];
  for (const [state, words, code] of cases) {
    const { address } = await start(t, reportOf({ ...node, name: "a", state: "away", ...state }));
    const line = commandLine(["refresh", "team/app", "--ops", address]);
    t.equal(await line.exit, code, words.source);
    t.match(line.out(), words);
  }
  const refused = await start(t, { error: { code: "bad_request", message: "no" } }, 400);
  t.equal(await commandLine(["refresh", "x", "--ops", refused.address]).exit, 2);
});
