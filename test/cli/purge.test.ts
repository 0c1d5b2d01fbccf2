import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import t, { type Test } from "tap";
import type { PurgeReport } from "../../src/ops/purge/purge-report.ts";
import { commandLine } from "../fixtures/command-line.ts";

const digest = `sha256:${"a1".repeat(32)}`;

const planned: PurgeReport = {
  schema: 1,
  id: null,
  at: 1,
  kind: "tag",
  upstream: "hub",
  repository: "team/app",
  tag: "1.0",
  digest: null,
  chosenBy: "it is the only one",
  tags: [{ upstream: "hub", repository: "team/app", tag: "1.0", digest }],
  goes: [
    { digest, role: "manifest", sizeBytes: 500, here: true },
    { digest: "sha256:l", role: "layer", sizeBytes: null, here: false },
  ],
  stays: [{ digest: "sha256:s", role: "layer", sizeBytes: 1_000, here: true, why: "hub/team/app:2 uses it" }],
  sums: { tags: 1, images: 1, layers: 0, bytes: 500, staysParts: 1, staysBytes: 1_000 },
  truncated: false,
  pinnedBy: [],
  s3: true,
  nodes: [
    { name: "a", self: true, state: "planned", parts: 1, bytes: 500 },
    { name: "b", self: false, state: "away", parts: null, bytes: null },
  ],
};
const done: PurgeReport = {
  ...planned,
  id: "1700000000000-0123456789ab",
  nodes: [
    { name: "a", self: true, state: "done", parts: 1, bytes: 500 },
    { name: "b", self: false, state: "away", parts: null, bytes: null },
  ],
};

/** Something that answers like a mirror's ops listener: a dry run with the first, what is to be done with the second. */
async function start(t: Test, plan: object = planned, outcome: object = done, status = 200) {
  const asked: unknown[] = [];
  const server = createServer(async (request, response) => {
    const body = (await json(request)) as { dryRun: boolean };
    asked.push(body);
    response.writeHead(status).end(JSON.stringify(body.dryRun ? plan : outcome));
  });
  server.listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  return { asked, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const list = [
  "purge of team/app:1.0 from hub, for it is the only one",
  `goes   tag hub/team/app:1.0 ${digest}`,
  `goes   manifest ${digest}  500 B`,
  "goes   layer sha256:l, not here",
  "stays  layer sha256:s  1.00 kB: hub/team/app:2 uses it",
  "frees 500 B here: 1 manifest, 0 layers, and what S3 has of it; 1 part of it stay, 1.00 kB",
  "node a: to be done, 1 part, 500 B",
  "node b: away, and does it when it is back",
];
const outcome = ["node a: done, 1 part, 500 B", "node b: away, and does it when it is back", ""];

t.test("a dry run shows what goes and what stays, and asks for nothing more", async (t) => {
  const { asked, address } = await start(t);
  const line = commandLine(["purge", "team/app:1.0", "--dry-run", "--ops", address], {
    ask: async () => "y",
  });
  t.equal(await line.exit, 0);
  t.same(asked, [{ reference: "team/app:1.0", dryRun: true, force: false }]);
  t.equal(line.out(), [...list, ""].join("\n"));
});

t.test("where nobody can be asked, and with --yes, it is done at once", async (t) => {
  for (const [more, given] of [
    [[], {}],
    [["--yes"], { ask: async () => "n" }],
  ] as const) {
    const { asked, address } = await start(t);
    const line = commandLine(["purge", "team/app:1.0", "--ops", address, ...more], given);
    t.equal(await line.exit, 0);
    t.match(asked, [{ dryRun: true }, { dryRun: false }]);
    t.equal(line.out(), [...list, ...outcome].join("\n"));
  }
});

t.test("on a terminal it is asked about", async (t) => {
  for (const [said, code] of [
    ["y", 0],
    ["Yes", 0],
    ["", 1],
    ["n", 1],
  ] as const) {
    const { asked, address } = await start(t);
    const questions: string[] = [];
    const line = commandLine(["purge", "team/app:1.0", "--ops", address], {
      ask: async (question) => {
        questions.push(question);
        return said;
      },
    });
    t.equal(await line.exit, code, said);
    t.same(questions, ["Purge it? [y/N] "]);
    t.equal(asked.length, code === 0 ? 2 : 1);
    t.equal(line.err(), code === 0 ? "" : "entrepot: nothing was purged\n");
  }
});

t.test("as JSON there is one document, and the question is asked on the standard error", async (t) => {
  const { address } = await start(t);
  const dry = commandLine(["purge", "x", "--dry-run", "--json", "--ops", address]);
  t.equal(await dry.exit, 0);
  t.strictSame(JSON.parse(dry.out()), planned);
  const line = commandLine(["purge", "x", "--json", "--ops", address], { ask: async () => "y" });
  t.equal(await line.exit, 0);
  t.strictSame(JSON.parse(line.out()), done);
  t.match(line.err(), /^purge of team\/app:1\.0/);
});

t.test("what pinned images need is refused unless --force says otherwise", async (t) => {
  const pinned = { ...planned, pinnedBy: ["hub/team/app:1.0"] };
  const { asked, address } = await start(t, pinned);
  const line = commandLine(["purge", "x", "--ops", address]);
  t.equal(await line.exit, 2);
  t.match(line.err(), /pinned images need some of it \(hub\/team\/app:1\.0\): see --force/);
  t.equal(asked.length, 1);
  t.equal(await commandLine(["purge", "x", "--force", "--ops", address]).exit, 0);
  t.match(asked[2], { dryRun: false, force: true });
});

t.test("what could not be reached, and what the mirror refuses, is told by the exit code", async (t) => {
  const partly = { ...done, nodes: [{ name: "a", self: true, state: "partly", parts: 1, bytes: 5 }] };
  const { address } = await start(t, planned, partly);
  t.equal(await commandLine(["purge", "x", "--ops", address]).exit, 1);
  const refused = await start(t, { error: { code: "bad_request", message: "no" } }, {}, 400);
  const line = commandLine(["purge", "x", "--ops", refused.address]);
  t.equal(await line.exit, 2);
  t.match(line.err(), /^entrepot: .*no\n$/);
});
