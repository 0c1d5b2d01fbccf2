import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { listenAt, removeStale } from "../../src/ports/listening.ts";

function server(t: Test): Server {
  const made = createServer((socket) => void socket.on("error", () => {}).end("hello"));
  t.teardown(() => made.close());
  return made;
}

/** With a short path, which the one of a socket has to be. */
function directory(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), "entrepot-"));
  t.teardown(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

async function greetingOf(where: { path: string } | { host: string; port: number }): Promise<string> {
  const socket = connect(where);
  socket.setEncoding("utf8");
  const [text] = await once(socket, "data");
  return text as string;
}

t.test("every address of both families, where there are both", async (t) => {
  const { port, host } = await listenAt(server(t), { host: "", port: 0 });
  t.equal(await greetingOf({ host: "127.0.0.1", port }), "hello");
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const hasIPv6 = addresses.some(({ address }) => address === "::1");
  t.equal(host, hasIPv6 ? "::" : host);
  if (hasIPv6) t.equal(await greetingOf({ host: "::1", port }), "hello");
});

t.test("a unix socket, with its permissions; one that a killed process left is taken over", async (t) => {
  const path = join(directory(t), "a.sock");
  const place = { path, mode: 0o600 };
  await removeStale(place);
  t.same(await listenAt(server(t), place), { host: "", port: 0, path });
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(await greetingOf({ path }), "hello");
  await removeStale(place);
  await t.rejects(listenAt(server(t), place), { code: "EADDRINUSE" }, "not one at which somebody listens");
  const left = join(directory(t), "b.sock");
  const program = `require("net").createServer().listen(${JSON.stringify(left)}, () => process.kill(process.pid, "SIGKILL"))`;
  spawnSync(process.execPath, ["-e", program]);
  t.ok(existsSync(left));
  await removeStale({ path: left, mode: 0o666 });
  await listenAt(server(t), { path: left, mode: 0o666 });
  t.equal(statSync(left).mode & 0o777, 0o666);
});

t.test("a file that is no socket stays", async (t) => {
  const path = join(directory(t), "file");
  writeFileSync(path, "precious");
  await removeStale({ path, mode: 0o600 });
  t.ok(existsSync(path));
  await t.rejects(listenAt(server(t), { path, mode: 0o600 }), { code: "EADDRINUSE" });
});
