import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Explanation } from "../../src/ops/stats/stats-document.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { upstreamUrl } from "../fixtures/loading.ts";
import { fullExplanation } from "../fixtures/stats-samples.ts";
import { workDirectory } from "../system/fixtures/work-directory.ts";

/** Something that answers like a mirror's ops listener. */
async function start(t: Test, explanation: Explanation | object, status = 200, socket?: string) {
  const asked: (string | null)[] = [];
  const shown: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(new URL(request.url ?? "", "http://x").searchParams.get("reference"));
    shown.push(request.headers.authorization);
    response.writeHead(status).end(JSON.stringify(explanation));
  });
  if (socket === undefined) server.listen(0, "127.0.0.1");
  else server.listen(socket);
  t.teardown(() => server.close());
  await once(server, "listening");
  const { port } = socket === undefined ? (server.address() as AddressInfo) : { port: 0 };
  return { asked, shown, address: `127.0.0.1:${port}` };
}

t.test("what is known is printed", async (t) => {
  const { asked, address } = await start(t, fullExplanation("x"));
  const line = commandLine(["why", "team/app:1.0", "--ops", address]);
  t.equal(await line.exit, 0);
  t.strictSame(asked, ["team/app:1.0"]);
  t.equal(
    line.out(),
    [
      "x:x from x: x",
      "upstream: x, for x",
      "tag: fresh, checked 1.0 s ago",
      "a pull now: 0 B from upstream",
      "without upstream: served: x",
      "here      manifest x  5 B, x, disk, hashed 1.0 s ago, not linked to this repository",
      "and more",
      "",
    ].join("\n"),
  );
  t.equal(line.err(), "");
});

t.test("what is not whole is told by the exit code, and all of it as JSON", async (t) => {
  const partly = {
    ...fullExplanation("x"),
    whole: false,
    images: [
      { digest: "a", platform: "linux/amd64", state: "partly", missingParts: 2, missingBytes: 30_000_000 },
      { digest: "b", platform: null, state: "absent", missingParts: 0, missingBytes: null },
    ],
    pull: { bytes: 30_000_000, complete: false, durationMs: 12_000, siblings: [] },
    withoutUpstream: { served: false, why: "2 parts of it are not here" },
  } as Explanation;
  const { address } = await start(t, partly);
  const line = commandLine(["why", "app", "--ops", address]);
  t.equal(await line.exit, 1);
  t.match(line.out(), /^image: linux\/amd64: 2 parts missing, 30.0 MB$/m);
  t.match(line.out(), /^image: b: absent$/m);
  t.match(
    line.out(),
    /^a pull now: 30.0 MB from upstream and what is not known, some 12 s at the rate of late$/m,
  );
  t.match(line.out(), /^without upstream: not served: 2 parts of it are not here$/m);
  const json = commandLine(["why", "app", "--ops", address, "--json"]);
  t.equal(await json.exit, 1);
  t.strictSame(JSON.parse(json.out()), partly);
  t.match((await helpOf("why")).out(), /0 {2}the image is here as a whole/);
});

async function helpOf(command: string) {
  const line = commandLine([command, "--help"]);
  await line.exit;
  return line;
}

t.test("the address is that of the configuration; every address means this machine", async (t) => {
  const { asked, address } = await start(t, fullExplanation("x"));
  const env = { ...upstreamUrl, ENTREPOT_OPS_LISTEN: address.replace("127.0.0.1", "0.0.0.0") };
  t.equal(await commandLine(["why", "app"], { env }).exit, 0);
  t.equal(asked.length, 1);
});

t.test("where it listens at a unix socket it is asked there", async (t) => {
  const socket = join(await workDirectory(t), "ops.sock");
  const { asked } = await start(t, fullExplanation("x"), 200, socket);
  const env = { ...upstreamUrl, ENTREPOT_OPS_LISTEN: `unix:${socket}` };
  t.equal(await commandLine(["why", "app"], { env }).exit, 0);
  t.strictSame(asked, ["app"]);
  const gone = commandLine(["why", "app"], { env: { ...env, ENTREPOT_OPS_LISTEN: `unix:${socket}-gone` } });
  t.equal(await gone.exit, 2);
  t.ok(gone.err().startsWith(`entrepot: no mirror answers at ${socket}-gone (`), gone.err());
});

t.test(
  "the password or token is that of the configuration or the environment, and on no command line",
  async (t) => {
    const { shown, address } = await start(t, fullExplanation("x"));
    const basic = (account: string) => `Basic ${Buffer.from(account).toString("base64")}`;
    const files = { "/p": "hunter2\n", "/t": "a-token-of-this-mirror\n" };
    const why = (env: Record<string, string>, ...more: string[]) =>
      commandLine(["why", "app", ...more], { env, files }).exit;
    const ops = ["--ops", address];
    t.equal(await why({ ENTREPOT_OPS_ACCESS_PASSWORD: "a:b" }, ...ops), 0);
    t.equal(
      await why({ ENTREPOT_OPS_ACCESS_PASSWORD_FILE: "/p", ENTREPOT_OPS_ACCESS_USERNAME: "ann" }, ...ops),
      0,
    );
    t.equal(await why({ ENTREPOT_OPS_ACCESS_TOKEN_FILE: "/t", ENTREPOT_LOG_LEVEL: "wrong" }, ...ops), 0);
    t.equal(await why({}, ...ops), 0);
    const configured = {
      ...upstreamUrl,
      ENTREPOT_OPS_LISTEN: address,
      ENTREPOT_OPS_ACCESS_PASSWORD_FILE: "/p",
    };
    t.equal(await why(configured), 0);
    t.same(shown, [
      basic("entrepot:a:b"),
      basic("ann:hunter2"),
      "Bearer a-token-of-this-mirror",
      undefined,
      basic("entrepot:hunter2"),
    ]);
    t.equal(await why({ ENTREPOT_OPS_ACCESS_PASSWORD_FILE: "/gone" }, ...ops), 2);
  },
);

t.test("that a login is needed is said, with how to give it, and that it is not taken", async (t) => {
  const error = (message: string) => ({ error: { code: "unauthorized", message } });
  const refusing = await start(t, error("this needs the password of opsAccess"), 401);
  const place = `http://${refusing.address}`;
  const how =
    "set ENTREPOT_OPS_ACCESS_PASSWORD_FILE or ENTREPOT_OPS_ACCESS_TOKEN_FILE to a file with that of its opsAccess, or name its configuration with --config";
  for (const command of [["why", "app"], ["readiness"], ["savings"], ["warm", "app"]]) {
    const line = commandLine([...command, "--ops", refusing.address]);
    t.equal(await line.exit, 2, command.join(" "));
    t.equal(line.err(), `entrepot: the mirror at ${place} needs a login: ${how}\n`);
  }
  const env = { ENTREPOT_OPS_ACCESS_PASSWORD: "wrong" };
  const wrong = commandLine(["why", "app", "--ops", refusing.address], { env });
  t.equal(await wrong.exit, 2);
  t.match(wrong.err(), `the mirror at ${place} does not take the password or token it was shown: ${how}`);
  const closed = await start(t, error("This listener has no password. Set opsAccess.passwordFile"), 403);
  const shut = commandLine(["why", "app", "--ops", closed.address]);
  t.equal(await shut.exit, 2);
  t.equal(shut.err(), "entrepot: This listener has no password. Set opsAccess.passwordFile\n");
  const proxy = await start(t, {}, 403);
  const stopped = commandLine(["why", "app", "--ops", proxy.address]);
  t.equal(await stopped.exit, 2);
  t.equal(stopped.err(), `entrepot: the mirror at http://${proxy.address} refuses it (status 403)\n`);
});

t.test("no mirror, no reference, no configuration, no address", async (t) => {
  const message = 'reference "X": expected something else';
  const { address } = await start(t, { error: { code: "bad_request", message } }, 400);
  const unreadable = commandLine(["why", "X", "--ops", `http://${address}`]);
  t.equal(await unreadable.exit, 2);
  t.equal(unreadable.err(), `entrepot: ${message}\n`);
  const failing = await start(t, fullExplanation("x"), 500);
  const failed = commandLine(["why", "app", "--ops", failing.address]);
  t.equal(await failed.exit, 2);
  t.equal(failed.err(), `entrepot: no mirror answers at http://${failing.address} (status 500)\n`);
  const nobody = commandLine(["why", "app", "--ops", "127.0.0.1:1"]);
  t.equal(await nobody.exit, 2, "which is not the 1 of an image that is not here");
  t.match(nobody.err(), /^entrepot: no mirror answers at http:\/\/127\.0\.0\.1:1 \(/);
  t.notMatch(nobody.err(), /--config/, "who has said where it is needs no help with that");
  const address_ = commandLine(["why", "app", "--ops", "a b"]);
  t.equal(await address_.exit, 2);
  t.match(address_.err(), /expected an address like/);
});

t.test("without a configuration it is looked for where a mirror is without settings", async (t) => {
  const { asked, address } = await start(t, fullExplanation("x"));
  t.equal(await commandLine(["why", "app"], { env: { ENTREPOT_OPS_LISTEN: address } }).exit, 0);
  t.strictSame(asked, ["app"]);
  const nobody = commandLine(["why", "app"], { env: { ENTREPOT_OPS_LISTEN: "127.0.0.1:1" } });
  t.equal(await nobody.exit, 2, "which is not the 1 of an image that is not here");
  t.match(
    nobody.err(),
    /^entrepot: no mirror answers at http:\/\/127\.0\.0\.1:1 \(.*\nWithout a configuration .*\n.*--ops ADDRESS/,
  );
  const half = commandLine(["why", "app"], { env: { ENTREPOT_CONFIG: "/gone" } });
  t.equal(await half.exit, 2, "one that is named has to be there");
});
