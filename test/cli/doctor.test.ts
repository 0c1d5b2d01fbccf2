import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { doctorReportSchema } from "../../src/doctor/report.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { makeImage } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

async function registry(t: Test) {
  const upstream = await startUpstream(t, { path: "", anonymous: true });
  upstream.addImage("team/app", "1.0", makeImage({ layers: [64] }));
  return upstream;
}

function nodeEnv(t: Test, url: string): Record<string, string> {
  return {
    ENTREPOT_UPSTREAM_URL: url,
    ENTREPOT_CACHE_DIR: join(t.testdir(), "data"),
    ENTREPOT_LISTEN: "127.0.0.1:0",
    ENTREPOT_OPS_LISTEN: "127.0.0.1:0",
  };
}

t.test("0 and one line for each check when nothing fails", async (t) => {
  const { url } = await registry(t);
  const line = commandLine(["doctor", "--image", "team/app:1.0"], { env: nodeEnv(t, url.href) });
  t.equal(await line.exit, 0);
  t.match(line.out(), /^upstream upstream$/m);
  t.match(line.out(), /^ {2}ok {7}manifest {3}\d+ bytes/m);
  t.match(line.out(), /\n0 failed, \d+ warnings, \d+ ok, \d+ skipped\n$/);
  t.equal(line.err(), "");
  t.equal(line.listeners(), 0);
});

t.test("1 when a check fails, which the last line names; --json prints the checks", async (t) => {
  const env = nodeEnv(t, "http://registry.invalid");
  const line = commandLine(["doctor"], { env });
  t.equal(await line.exit, 1);
  t.match(line.out(), /^ {2}FAILED {3}dns .*\n +-> /m);
  t.match(line.out(), /\nfailed: upstream upstream: dns\n$/);
  const json = commandLine(["doctor", "--json"], { env });
  t.equal(await json.exit, 1);
  const report = doctorReportSchema.parse(JSON.parse(json.out()));
  t.equal(report.outcome, "failed");
  t.match(
    report.checks.filter(({ outcome }) => outcome === "failed"),
    [{ name: "dns" }],
  );
});

t.test("2 when the configuration or the command line is wrong, and nothing is looked at", async (t) => {
  const wrong = commandLine(["doctor"], { env: { ENTREPOT_TAG_TTL: "60" } });
  t.equal(await wrong.exit, 2);
  t.match(wrong.out(), /FAILED {3}settings {2}upstream\.url: no registry/);
  const json = commandLine(["doctor", "--json"], { env: {} });
  t.equal(await json.exit, 2);
  t.match(doctorReportSchema.parse(JSON.parse(json.out())), { outcome: "failed" });
  const env = nodeEnv(t, "http://registry.invalid");
  for (const [argv, says] of [
    [["--upstream", "other"], /there is no "other", but upstream/],
    [["--image", "team/APP:1"], /--image: found/],
    [["--client", "http://mirror.example.com", "--upstream", "a"], /do not go with it/],
  ] as const) {
    const line = commandLine(["doctor", ...argv], { env });
    t.equal(await line.exit, 2, argv.join(" "));
    t.match(line.err(), says);
    t.equal(line.out(), "");
  }
});

t.test("warnings of the configuration are told", async (t) => {
  const { url } = await registry(t);
  const env = { ...nodeEnv(t, url.href), ENTREPOT_CACHE_MAX_SIZE: "9000TB" };
  const line = commandLine(["doctor", "--json"], { env });
  t.equal(await line.exit, 0);
  const { checks } = doctorReportSchema.parse(JSON.parse(line.out()));
  t.match(
    checks.find(({ part, outcome }) => part === "configuration" && outcome === "warning"),
    { seen: /cache\.maxSize/ },
  );
});

/** The address of a server that wants a login, but for its metrics where it has some. */
async function wantsLogin(t: Test, metrics?: string): Promise<string> {
  const server = createServer(({ url }, response) => {
    if (url === "/metrics" && metrics !== undefined) response.end(metrics);
    else response.writeHead(401, { "content-type": "application/json" }).end("{}");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test("another program that wants a login at opsListen is not taken for a mirror", async (t) => {
  const { url } = await registry(t);
  for (const metrics of [undefined, "node_load1 0.5\n"]) {
    const env = { ...nodeEnv(t, url.href), ENTREPOT_OPS_LISTEN: await wantsLogin(t, metrics) };
    const line = commandLine(["doctor"], { env });
    t.equal(await line.exit, 1);
    t.match(line.out(), /FAILED {3}opsListen {2}cannot listen on 127\.0\.0\.1:\d+/);
    t.match(line.out(), / {2}ok {7}listen .* is free/);
  }
});

t.test("beside a mirror that runs its port is not taken for another program's", async (t) => {
  const { url } = await registry(t);
  const at = await wantsLogin(t, "# TYPE entrepot_build_info gauge\nentrepot_build_info 1\n");
  const env = { ...nodeEnv(t, url.href), ENTREPOT_OPS_LISTEN: at };
  const line = commandLine(["doctor"], { env });
  t.equal(await line.exit, 0);
  t.match(line.out(), /opsListen {2}127\.0\.0\.1:\d+: a mirror runs here already/);
});

t.test("a client: the mirror, and the ways past it", async (t) => {
  const mirror = await registry(t);
  const { host } = mirror.url;
  const pull = ["--client", `http://${host}`, "--image", "registry.invalid/team/app:1.0"];
  const line = commandLine(["doctor", ...pull], { env: {} });
  t.equal(await line.exit, 0);
  t.match(line.out(), /^mirror$/m);
  t.match(line.out(), /^ {2}ok {7}range /m);
  t.match(line.out(), /registry\.invalid is not reached past the mirror/);
  const unnamed = commandLine(["doctor", "--client", host], { env: {} });
  t.equal(await unnamed.exit, 0);
  t.match(unnamed.out(), /skipped {2}registry {2}which registry clients fall back to is not known/);
  await mirror.stop();
  const gone = commandLine(["doctor", "--client", host], { env: {} });
  t.equal(await gone.exit, 1);
  t.match(gone.out(), /failed: mirror: connect/);
});

t.test("an account is shown to the mirror it is for, and to no other host", async (t) => {
  const shown: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    shown.push(request.headers.authorization);
    response.writeHead(401, { "www-authenticate": 'Basic realm="mirror"' }).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const account = { ENTREPOT_UPSTREAM_USERNAME: "mirror", ENTREPOT_UPSTREAM_PASSWORD: "hunter2" };
  const ask = async (url: string, env: Record<string, string> = {}) => {
    shown.length = 0;
    const line = commandLine(["doctor", "--client", url], { env: { ...account, ...env } });
    await line.exit;
    t.ok(shown.length > 0);
    return shown.some((each) => each !== undefined);
  };
  t.equal(await ask(`http://${host}`), true);
  t.equal(await ask(`http://${host}`, { ENTREPOT_UPSTREAM_URL: `http://${host}/v2` }), true);
  t.equal(await ask(`http://${host}`, { ENTREPOT_UPSTREAM_URL: "https://registry.example.com" }), false);
  t.equal(await ask(`http://${host}`, { ENTREPOT_UPSTREAM_URL: `https://${host}` }), false, "in clear");
  t.equal(await ask(host), false, "without a scheme");
  t.equal(await ask(host.replace("127.0.0.1", "localhost")), false, "nor where the host looks like one");
});
