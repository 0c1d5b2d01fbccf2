// Where callers name themselves, another node of the datacenter is admitted by its signature, and by nothing else.
import { verify } from "@node-rs/bcrypt";
import t from "tap";
import { AccessRules } from "../../src/gate/access-rules.ts";
import { Gate } from "../../src/gate/gate.ts";
import { HtpasswdUsers } from "../../src/gate/htpasswd-users.ts";
import { Passwords } from "../../src/gate/passwords.ts";
import { defaultLimits, openAnswers } from "../../src/http/client-limits.ts";
import { Listener } from "../../src/http/listener.ts";
import { Router } from "../../src/http/routing.ts";
import { type ServeOptions, serve } from "../../src/http/serve.ts";
import { NodeProof, proofHeader } from "../../src/ports/datacenter/node-proof.ts";
import type { RequestEvent } from "../../src/ports/event.ts";
import { clientHeader, grantHeader, readGrant, takesGrantHeader } from "../../src/ports/grant.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { peerHeader } from "../../src/ports/shared.ts";
import type { Upstream } from "../../src/ports/upstream.ts";
import { login, namedAccess, usersOf } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { eventually } from "../fixtures/manual-time.ts";
import { ask, startMirror } from "../fixtures/mirror.ts";
import { startPushUpstream } from "../fixtures/push-upstream.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [5_000], seed: "nodes" });
const layer = image.layers[0];
const blob = `/v2/team/app/blobs/${layer?.digest}`;
const secret = fixedSecret(new Secret("s".repeat(32)));
const proof = new NodeProof(secret, Date.now);
/** Where the other nodes ask this one. */
const host = "node-a.test:5000";
const stranger = new NodeProof(fixedSecret(new Secret("x".repeat(32))), Date.now);

t.test("a signed read is admitted, an unsigned one is asked for a login", async (t) => {
  const upstream = await startPushUpstream(t);
  const content = upstream.content("team/app");
  for (const { digest, bytes } of [image.config, ...image.layers]) content.blobs.set(digest, bytes);
  content.manifests.set(image.digest, { body: image.manifest, mediaType: image.mediaType });
  content.tags.set("1", image.digest);
  const mirror = await startMirror(t, upstream, {
    access: namedAccess({ alice: "alice-pw" }),
    node: { name: "node-a", address: `http://${host}`, secret },
    upstream: { push: true },
  });
  const signedBlob = `/upstream/v2/team/app/blobs/${layer?.digest}`;
  const manifest = `/upstream/v2/team/app/manifests/${image.digest}`;
  for (const path of [manifest, signedBlob])
    t.equal((await mirror.get(path, login("alice", "alice-pw"))).status, 200);

  const asNode = async (
    by: NodeProof,
    method: string,
    target: string,
    signed: { method?: string; target?: string; host?: string } = {},
  ) => {
    const question = { node: "node-b", method, host, target, ...signed };
    const proof = await by.sign(question);
    const headers = { host: question.host, [peerHeader]: "node-b", [proofHeader]: proof };
    return (await mirror.ask(method, target, headers)).status;
  };
  t.equal(await asNode(proof, "GET", signedBlob), 200);
  t.equal(await asNode(proof, "HEAD", signedBlob), 200);
  t.equal(await asNode(proof, "HEAD", manifest), 200);
  for (const path of [signedBlob, manifest]) {
    t.equal((await mirror.get(path, { [peerHeader]: "node-b" })).status, 401, "who only says so");
    t.equal(await asNode(stranger, "GET", path), 401, "another secret");
    t.equal(await asNode(proof, "GET", path, { method: "HEAD" }), 401, "the signature of another question");
    t.equal(await asNode(proof, "GET", path, { target: "/v2/" }), 401);
    t.equal(await asNode(proof, "GET", path, { host: mirror.url.host }), 401, "asked of another node");
  }
  for (const path of ["/v2/team/app/tags/list", "/v2/_catalog"])
    t.equal(await asNode(proof, "GET", path), 403, `nodes do not ask for ${path}`);
  upstream.requests.length = 0;
  for (const method of ["PUT", "DELETE"])
    t.equal(await asNode(proof, method, manifest), 401, `nodes do not ${method}`);
  t.equal(upstream.requests.length, 0);
});

t.test("without a secret nobody is a node", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream, { access: namedAccess({ alice: "1" }) });
  t.equal((await mirror.get(blob, login("alice", "1"))).status, 200);
  const question = { node: "there", method: "GET", host: mirror.url.host, target: blob };
  const proof = await new NodeProof(secret, Date.now).sign(question);
  t.equal((await mirror.get(blob, { [peerHeader]: "there", [proofHeader]: proof })).status, 401);
});

t.test(
  "what a node is given through a worker is no grant, which the worker would give to others",
  async (t) => {
    const manifest = Buffer.from(image.manifest);
    const { digest, mediaType } = image;
    const found = { kind: "found", result: "hit", digest, mediaType, body: manifest, age: 0, source: "disk" };
    const passwords = new Passwords({
      directory: new HtpasswdUsers(usersOf({ alice: "1" }), verify),
      running: 2,
      clock: () => 1_000,
    });
    const options = {
      manifests: { openAtOnce: () => found },
      router: new Router([
        {
          upstream: { name: "far", forwarding: () => ({ name: "far" }) } as unknown as Upstream,
          namespaces: [],
          hosts: [],
          library: false,
          allow: [],
          deny: [],
        },
      ]),
      gate: new Gate({ rules: new AccessRules([]), passwords }),
      nodeProof: new NodeProof(secret, Date.now, "mirror.test"),
      answers: openAnswers(defaultLimits),
      pseudonym: "entrepot-test",
      readiness: () => 200,
    } as unknown as ServeOptions;
    const listener = new Listener({
      serve: (exchange) => void serve(exchange, options),
      unexpected: t.error,
      pseudonym: "entrepot-test",
      cacheStatus: true,
      ofWorkers: true,
      onEvent: () => {},
    });
    t.teardown(() => listener.stop());
    const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
    const target = "/v2/team/app/manifests/1";
    const worker = { [takesGrantHeader]: "1", [clientHeader]: "10.0.0.1", host: "mirror.test" };
    const asked = (headers: Record<string, string>) =>
      ask({ hostname: "127.0.0.1", port: String(port) }, "GET", target, { ...worker, ...headers });
    const named = await asked(login("alice", "1"));
    t.match(readGrant(String(named.headers[grantHeader])), { user: "alice", digest });
    const question = { node: "there", method: "GET", host: "mirror.test", target };
    const proof = await new NodeProof(secret, Date.now).sign(question);
    const node = await asked({ [peerHeader]: "there", [proofHeader]: proof });
    t.match(node, { status: 200, body: manifest });
    t.notOk(node.headers[grantHeader]);
    t.equal((await asked({})).status, 401);
  },
);

t.test("only who has proved to be a node is one in the event, where nodes have a secret", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const manifest = `/v2/team/app/manifests/${image.digest}`;
  const path = `/upstream${manifest}`;
  const open = { name: "node-a", address: `http://${host}` };
  for (const [node, access, proved] of [
    [{ ...open, secret }, undefined, true],
    [{ ...open, secret }, namedAccess({ alice: "alice-pw" }), true],
    [open, undefined, false],
  ] as const) {
    const events: RequestEvent[] = [];
    const sink = {
      name: "seen",
      onEvent: (event: RequestEvent) => void events.push(event),
      onNotice: () => {},
    };
    const mirror = await startMirror(t, upstream, { node, sinks: [sink], ...(access && { access }) });
    const peer = { [peerHeader]: "node-b" };
    const signed = await proof.sign({ node: "node-b", method: "GET", host, target: path });
    const asked: Record<string, string>[] = [
      login("alice", "alice-pw"),
      { ...login("alice", "alice-pw"), ...peer, [proofHeader]: "1.x" },
      { ...peer, [proofHeader]: signed, host },
    ];
    for (const headers of asked) t.equal((await mirror.get(path, headers)).status, 200);
    await eventually("every request has its event", () => events.length === asked.length);
    const ofNode = events.map((event) => event.ofNode);
    t.strictSame(ofNode, [undefined, proved ? undefined : true, true]);
  }
});
