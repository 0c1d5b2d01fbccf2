// What one caller has been granted is not given to another.
import t from "tap";
import { fail, failures } from "../../src/http/error.ts";
import type { Exchange } from "../../src/http/exchange.ts";
import { type Digest, parseDigest } from "../../src/oci/digest.ts";
import { parseRepository, type Repository } from "../../src/oci/name.ts";
import { login } from "../fixtures/access.ts";
import { Authority, type Identity, withoutOpenssl } from "../fixtures/certificates.ts";
import { digestOf } from "../fixtures/images.ts";
import { eventually } from "../fixtures/manual-time.ts";
import { connectTls, requestOver, serverTls } from "../fixtures/tls-client.ts";
import { startPair } from "../fixtures/worker-pair.ts";

const scope = { upstream: "far", repository: parseRepository("team/app") as Repository };
const manifest = Buffer.from('{"schemaVersion":2}');
const path = "/v2/team/app/manifests/1";
const alice = login("alice", "alice-pw");

/** Grants to Alice alone. */
function serve(exchange: Exchange): void {
  if (exchange.header("authorization") !== alice.authorization) {
    fail(exchange, failures.unauthorized, "denied");
    return;
  }
  grant(exchange);
}

function grant(exchange: Exchange): void {
  Object.assign(exchange.findings, { route: "manifest_tag", source: "disk", reference: "1", user: "alice" });
  const digest = parseDigest(digestOf(manifest)) as Digest;
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  exchange.grant(
    {
      kind: "manifest",
      ...scope,
      digest,
      mediaType,
      size: manifest.length,
      age: 0,
      freshFor: 60_000,
      heads: true,
    },
    manifest,
  );
}

t.test("a grant is for the credentials it was given to", async (t) => {
  const pair = await startPair(t, {
    serve,
    callerMatters: { credentials: true, certificate: false, address: false },
  });
  t.equal((await pair.ask("GET", path, alice)).status, 200);
  t.equal((await pair.ask("GET", path, alice)).status, 200);
  t.equal(pair.asked.length, 1, "it is remembered");
  const strangers = [{}, login("alice", "alice-pw2"), login("bob", "alice-pw"), { authorization: "Basic" }];
  for (const method of ["GET", "HEAD"])
    for (const header of strangers) t.equal((await pair.ask(method, path, header)).status, 401);
  t.equal((await pair.ask("HEAD", path, alice)).status, 200);
  t.equal(pair.asked.length, 9, "whoever has none is the primary's to judge");
  await eventually("every request has its event", () => pair.events.worker.length === 3);
  t.same(
    pair.events.worker.map(({ user }) => user),
    ["alice", "alice", "alice"],
  );
  const told = JSON.stringify(pair.events);
  t.notMatch(told, alice.authorization.slice(6), "credentials are no part of what is told");
  t.notMatch(told, "alice-pw");
});

t.test("a grant ends with the token that it was given for, counted from when it was asked for", async (t) => {
  let wait = 0;
  const pair = await startPair(t, {
    serve: (exchange) => {
      exchange.grantsLast(3_000);
      pair.elapse(wait);
      serve(exchange);
    },
    callerMatters: { credentials: true, certificate: false, address: false },
  });
  for (const [passes, asked] of [
    [0, 1],
    [2_999, 1],
    [1, 2],
    [2_000, 2],
  ] as const) {
    pair.elapse(passes);
    await pair.ask("GET", path, alice);
    t.equal(pair.asked.length, asked, `after ${passes} ms more`);
  }
  wait = 1_000;
  pair.elapse(1_000);
  await pair.ask("GET", path, alice);
  t.equal(pair.asked.length, 3);
  wait = 0;
  pair.elapse(1_999);
  await pair.ask("GET", path, alice);
  t.equal(pair.asked.length, 3);
  pair.elapse(1);
  await pair.ask("GET", path, alice);
  t.equal(pair.asked.length, 4, "the primary took a second to answer");
});

t.test("the primary is told where the client has reached the mirror, and by nobody else", async (t) => {
  const seen: (string | undefined)[] = [];
  const pair = await startPair(t, {
    serve: (exchange) => {
      seen.push(exchange.origin);
      fail(exchange, failures.unauthorized, "denied");
    },
  });
  const headers = {
    host: "mirror.example.com",
    "x-forwarded-proto": "https",
    "entrepot-origin": "https://evil",
  };
  await pair.ask("GET", path, headers);
  pair.listener.prepare({ trustedProxies: ["127.0.0.1"] })();
  await pair.ask("GET", path, headers);
  await pair.ask("GET", path, { ...headers, host: "no host" });
  t.strictSame(seen, ["http://mirror.example.com", "https://mirror.example.com", undefined]);
});

t.test("a grant is for the address it was given to, where rules are about addresses", async (t) => {
  const headers = { ...alice, "x-forwarded-for": "10.0.0.1" };
  const pair = await startPair(t, {
    serve,
    callerMatters: { credentials: true, certificate: false, address: true },
    trustedProxies: ["127.0.0.0/8"],
  });
  t.equal((await pair.ask("GET", path, headers)).status, 200);
  t.equal((await pair.ask("GET", path, headers)).status, 200);
  t.equal(pair.asked.length, 1);
  t.equal((await pair.ask("GET", path, { ...headers, "x-forwarded-for": "10.0.0.2" })).status, 200);
  t.equal(pair.asked.length, 2);
});

t.test("a grant is for the certificate it was given to", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const ca = authority.cert;
  const issue = (name: string, subject: string) => authority.issue(name, "DNS:localhost", subject);
  const [robot, other, renamed] = [
    issue("robot", "/OU=ci/CN=robot"),
    issue("other", "/OU=other/CN=robot"),
    issue("renamed", "/CN=ci"),
  ];
  const heard: unknown[] = [];
  const pair = await startPair(t, {
    directory: t.testdirName,
    serve: (exchange) => {
      const { name, groups = [] } = exchange.certified?.person ?? {};
      heard.push(name);
      if (name === "cert:robot" && groups.includes("cert:ci")) grant(exchange);
      else fail(exchange, failures.unauthorized, "denied");
    },
    callerMatters: { credentials: false, certificate: true, address: false },
    tls: serverTls(issue("server", "/CN=server"), ca),
    certificates: { name: "cn", groups: "ou" },
  });
  const status = async (identity: Identity | undefined): Promise<string | undefined> => {
    const answer = await requestOver(await connectTls(pair.port, { ca, ...identity }), path);
    return /^HTTP\/1\.1 (\d+)/.exec(answer)?.[1];
  };
  t.equal(await status(robot), "200");
  t.equal(await status(robot), "200");
  t.equal(pair.asked.length, 1, "it is remembered");
  for (const stranger of [undefined, other, renamed]) t.equal(await status(stranger), "401");
  t.equal(await status(robot), "200");
  t.same(heard, ["cert:robot", undefined, "cert:robot", "cert:ci"]);
});

t.test("where nobody is asked, what clients send makes no difference", async (t) => {
  const pair = await startPair(t, { serve });
  t.equal((await pair.ask("GET", path, alice)).status, 200);
  t.equal((await pair.ask("GET", path)).status, 200);
  t.equal((await pair.ask("GET", path, login("bob", "x"))).status, 200);
  t.equal(pair.asked.length, 1);
});
