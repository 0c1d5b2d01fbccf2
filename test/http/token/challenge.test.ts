// Where the challenge sends the client for its token: to the address at which it has reached this mirror.
import t, { type Test } from "tap";
import { namedAccess, ownTokens } from "../../fixtures/access.ts";
import { type MirrorOptions, startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";

async function realmAt(t: Test, options: MirrorOptions, realm?: string) {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, {
    cache: { dir: t.testdir() },
    access: { ...namedAccess({ alice: "1" }), tokens: { ...ownTokens, realm } },
    ...options,
  });
  return async (headers: Record<string, string>, path = "/v2/"): Promise<string | undefined> => {
    const answer = await mirror.get(path, headers);
    return /realm="([^"]*)"/.exec(answer.headers["www-authenticate"] ?? "")?.[1];
  };
}

t.test("by the Host header, whatever else a client says", async (t) => {
  const of = await realmAt(t, {});
  t.equal(await of({ host: "mirror.example.com:5000" }), "http://mirror.example.com:5000/v2/token");
  t.equal(await of({ host: "[::1]:5000" }), "http://[::1]:5000/v2/token");
  t.equal(await of({ host: "Mirror.Example.com" }), "http://mirror.example.com/v2/token");
  const said = {
    host: "mirror",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "evil.example.com",
    "x-forwarded-prefix": "/evil",
    forwarded: "proto=https;host=evil.example.com",
  };
  t.equal(await of(said), "http://mirror/v2/token");
});

t.test("by what a trusted proxy says", async (t) => {
  const of = await realmAt(t, { trustedProxies: ["127.0.0.0/8"] });
  const host = "mirror.example.com";
  t.equal(await of({ host, "x-forwarded-proto": "https" }), "https://mirror.example.com/v2/token");
  t.equal(await of({ host, "x-forwarded-proto": "HTTPS, http" }), "https://mirror.example.com/v2/token");
  t.equal(
    await of({
      host: "10.0.0.7:5000",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "hub.example.com:8443, lb",
    }),
    "https://hub.example.com:8443/v2/token",
  );
  t.equal(
    await of({ host: "10.0.0.7", forwarded: 'for=10.1.1.1;proto=https;host="hub.example.com:8443", for=lb' }),
    "https://hub.example.com:8443/v2/token",
  );
  t.equal(await of({ host, "x-forwarded-proto": "gopher" }), "http://mirror.example.com/v2/token");
  t.equal(
    await of({ host, "x-forwarded-prefix": "/registry", "x-forwarded-proto": "https" }),
    "https://mirror.example.com/registry/v2/token",
  );
});

t.test("below the path of this mirror, and never below that of an upstream", async (t) => {
  const of = await realmAt(t, { basePath: "/registry" });
  const host = "mirror.example.com";
  t.equal(await of({ host }), "http://mirror.example.com/registry/v2/token");
  t.equal(await of({ host }, "/registry/v2/"), "http://mirror.example.com/registry/v2/token");
  t.equal(await of({ host }, "/registry/upstream/v2/"), "http://mirror.example.com/registry/v2/token");
  t.equal(
    await of({ host }, "/registry/v2/token"),
    "entrepot",
    "it is the token's own path: a password is asked for",
  );
  t.equal(await of({ host }, "/upstream/v2/token"), "http://mirror.example.com/registry/v2/token");
});

t.test("by a host that is none a password is asked for", async (t) => {
  const of = await realmAt(t, {});
  for (const host of ["a b", 'x"y', "user@host", "a/b", "host:port", "x".repeat(300)])
    t.equal(await of({ host }), "entrepot", host);
});

t.test("by the configuration before all else", async (t) => {
  const realm = "https://tokens.example.com/auth";
  const of = await realmAt(t, { trustedProxies: ["127.0.0.0/8"] }, realm);
  t.equal(await of({ host: "mirror", "x-forwarded-proto": "http" }), realm);
  t.equal(await of({ host: "a b" }), realm);
});
