import t from "tap";
import { UpstreamError } from "../../../src/ports/upstream.ts";
import { tokenRealm } from "../../../src/upstream/auth/token-realm.ts";

const realmOf = (upstream: string, realm: string, tokenRealms: readonly string[] = []) =>
  tokenRealm({ name: "main", url: new URL(upstream), tokenRealms }, realm);

/** The refusal's message; undefined when the realm may be asked. */
function refusal(upstream: string, realm: string, tokenRealms: readonly string[] = []): string | undefined {
  try {
    realmOf(upstream, realm, tokenRealms);
  } catch (error) {
    if (error instanceof UpstreamError && error.code === "auth") return error.message;
    throw error;
  }
  return undefined;
}

t.test("upstream's own host and port, and over https its registrable domain", async (t) => {
  for (const [upstream, realm] of [
    ["https://registry.example.com/a", "https://registry.example.com/token"],
    ["https://registry.example.com", "https://registry.example.com:443/token"],
    ["https://registry.example.com", "https://registry.example.com:8443/token"],
    ["https://registry-1.example.com", "https://auth.example.com/token?a=b"],
    ["https://example.com:5000", "https://AUTH.example.com:5001/token"],
    ["https://a.registry.example.co.uk", "https://auth.example.co.uk/token"],
    ["http://registry.example.com", "https://auth.example.com/token"],
    ["https://registry.corp.internal", "https://auth.corp.internal/token"],
    ["http://127.0.0.1:5000", "http://127.0.0.1:5000/token"],
    ["http://[::1]:5000", "http://[0:0:0:0:0:0:0:1]:5000/token"],
    ["http://localhost:5000", "http://localhost:5000/token"],
    ["https://registry", "https://registry/token"],
  ] as const) {
    t.equal(refusal(upstream, realm), undefined, `${upstream} may name ${realm}`);
  }
});

t.test("nothing else", async (t) => {
  for (const [upstream, realm] of [
    ["https://registry.example.com", "https://auth.example.org/token"],
    ["https://registry.example.com", "https://registry.example.com.evil.example/token"],
    ["https://registry.example.com", "https://evilexample.com/token"],
    ["https://a.example.co.uk", "https://b.co.uk/token"],
    ["https://mine.github.io", "https://yours.github.io/token"],
    ["https://mine.s3.amazonaws.com", "https://yours.s3.amazonaws.com/token"],
    ["https://registry.internal", "https://auth.internal/token"],
    ["https://registry", "https://auth/token"],
    ["https://10.0.0.1", "https://10.0.0.2/token"],
    ["https://10.0.0.1", "https://10.0.0.1:8443/token"],
    ["https://localhost", "https://localhost:8443/token"],
    ["https://registry.example.com", "https://127.0.0.1/token"],
    ["https://registry.example.com", "https://169.254.169.254/latest"],
    ["http://127.0.0.1:5000", "http://127.0.0.1:5001/token"],
    ["http://127.0.0.1:5000", "http://localhost:5000/token"],
    ["http://registry.example.com", "http://registry.example.com:8080/token"],
    ["http://registry.example.com", "http://auth.example.com/token"],
    ["https://registry.example.com", "https://registry.example.com@evil.example/token"],
  ] as const) {
    const { host } = new URL(realm);
    const message = refusal(upstream, realm) ?? "";
    t.ok(message.includes(`add "${host}" to tokenRealms`), `${upstream} may not name ${realm}: ${message}`);
    t.match(message, /^upstream main .*nothing was sent there$/);
    t.equal(refusal(upstream, realm, [host]), undefined, "but what the message says allows it");
  }
});

t.test("never http for an https upstream, whatever is allowed", async (t) => {
  for (const realm of [
    "http://registry.example.com/token",
    "http://auth.example.com/token",
    "http://10.0.0.1/",
  ]) {
    const message = refusal("https://registry.example.com", realm, [
      "registry.example.com",
      "registry.example.com:80",
      "auth.example.com",
      "10.0.0.1",
    ]);
    t.match(message, /over plain http/, realm);
  }
});

t.test("the list names hosts with ports, or with the scheme's own", async (t) => {
  const upstream = "https://registry.example.com";
  t.equal(refusal(upstream, "https://auth.example.org/t", ["auth.example.org"]), undefined);
  t.equal(refusal(upstream, "https://auth.example.org/t", ["AUTH.example.org:443"]), undefined);
  t.equal(refusal(upstream, "https://[::1]:8443/t", ["[::1]:8443"]), undefined);
  t.match(
    refusal(upstream, "https://auth.example.org:8443/t", ["auth.example.org"]),
    /auth\.example\.org:8443/,
  );
  t.match(refusal(upstream, "https://a.auth.example.org/t", ["auth.example.org"]), /tokenRealms/);
  t.match(
    refusal(upstream, "https://auth.example.org/t", ["", "*", ":", "https://auth.example.org"]),
    /tokenRealms/,
  );
});

t.test("what is no address", async (t) => {
  for (const realm of [
    "",
    "Artifactory Realm",
    "/token",
    "//auth.example.com/token",
    "https://",
    `https://a/${"x".repeat(2048)}`,
  ]) {
    t.match(refusal("https://registry.example.com", realm), /an address that is none/, realm.slice(0, 40));
  }
  t.match(refusal("https://registry.example.com", "ftp://registry.example.com/"), /not HTTP/);
  t.match(refusal("https://registry.example.com", "file:///etc/passwd"), /not HTTP/);
});

t.test("credentials and fragment of a realm are dropped, its query is kept", async (t) => {
  const realm = realmOf("https://registry.example.com", "https://u:p@auth.example.com/t?a=b#c");
  t.equal(realm.href, "https://auth.example.com/t?a=b");
});
