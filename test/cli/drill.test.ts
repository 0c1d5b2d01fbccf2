import t from "tap";
import { commandLine } from "../fixtures/command-line.ts";
import { startJsonServer } from "../fixtures/json-server.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("a drill is begun, told of and stopped", async (t) => {
  const mirror = await startMirror(t, await startUpstream(t));
  const run = async (...args: string[]) => {
    const line = commandLine(["drill", ...args, "--ops", mirror.ops.host]);
    return { exit: await line.exit, out: line.out(), err: line.err() };
  };
  t.match(await run(), { exit: 0, out: "no drill is on\n" });
  t.match(await run("--stop"), { exit: 1, err: /no drill is on/ });
  t.match(await run("--clients", "10.1.2.0/24, 10.1.3.7", "--for", "90s"), {
    exit: 0,
    out: /^a drill is on for 10\.1\.2\.0\/24, 10\.1\.3\.7: for them every upstream counts as away\nsince .* \(90 s\), asked for on mirror;/,
  });
  const told = await run("--json");
  t.match(JSON.parse(told.out), { drill: { clients: ["10.1.2.0/24", "10.1.3.7"], node: "mirror" } });
  t.match(await run("--stop"), { exit: 0, out: /^the drill is over/ });
  t.match(await run("--clients", "here"), { exit: 2, err: /clients\.0: expected an address or a network/ });
});

t.test("wrong command lines, and no mirror", async (t) => {
  const run = async (...args: string[]) => {
    const line = commandLine(["drill", ...args, "--ops", "127.0.0.1:1"]);
    return { exit: await line.exit, err: line.err() };
  };
  t.match(await run("--for", "5m"), { exit: 2, err: /--for needs --clients/ });
  t.match(await run("--clients", "10.0.0.1", "--for", "2h"), {
    exit: 2,
    err: /--for: found "2h", expected at most 1h/,
  });
  t.match(await run("--clients", "10.0.0.1", "--for", "x"), { exit: 2, err: /--for: found "x"/ });
  t.match(await run("--clients", "10.0.0.1", "--stop"), { exit: 2, err: /--stop goes with neither/ });
  t.match(await run(), { exit: 2, err: /no mirror answers/ });
});

t.test("404 says that there is no drill only where one is to be stopped", async (t) => {
  const { url } = await startJsonServer(t, () => ({
    status: 404,
    json: { error: { code: "not_found", message: "here are: /" } },
  }));
  const run = async (...args: string[]) => await commandLine(["drill", ...args, "--ops", url.host]).exit;
  t.equal(await run("--stop"), 1);
  t.equal(await run(), 2);
  t.equal(await run("--clients", "10.0.0.1"), 2);
});
