import { execFileSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { configOf, problemsOf } from "../fixtures/loading.ts";

const yaml = (tls: string) => `upstream:\n  url: https://registry.example.com\n  tls: {${tls}}\n`;

t.test("files that are not there, or hold something else", async (t) => {
  const files = {
    "/text": "hello",
    "/der": "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n",
  };
  const first = (tls: string) => problemsOf({ yaml: yaml(tls), files })[0];
  t.equal(
    first("ca: /gone.pem"),
    'upstream.tls.ca (mirror.yaml:3:13): found "/gone.pem", which cannot be read (no such file), expected a PEM file',
  );
  t.equal(
    first("ca: /text"),
    'upstream.tls.ca (mirror.yaml:3:13): found other content in "/text", expected a certificate in PEM (-----BEGIN CERTIFICATE-----)',
  );
  t.match(first("ca: /der"), /other content in "\/der", expected certificates in PEM that can be read/);
  t.match(first("key: /text"), /other content in "\/text", expected a private key in PEM/);
});

t.test("a certificate and its key come together", async (t) => {
  t.match(problemsOf({ yaml: yaml("cert: /gone") }), [
    /which cannot be read/,
    /^upstream\.tls\.cert \(mirror\.yaml:3:15\): found a certificate without its key, expected upstream\.tls\.key as well$/,
  ]);
  t.match(problemsOf({ yaml: yaml("key: /gone") }), [
    /which cannot be read/,
    /found a key without its certificate/,
  ]);
});

t.test("a key in place of its path is not shown", async (t) => {
  const key = "-----BEGIN PRIVATE KEY----- hunter2 -----END PRIVATE KEY-----";
  for (const name of ["ca", "cert", "key"])
    t.notMatch(problemsOf({ yaml: yaml(`${name}: "${key}"`) }).join("\n"), /hunter2/);
});

t.test("the server name is a name", async (t) => {
  t.equal(
    configOf({ yaml: yaml("serverName: R.example.com") }).upstreams[0].tls?.serverName,
    "r.example.com",
  );
  t.match(problemsOf({ yaml: yaml("serverName: 10.0.0.1") }), [/expected a host name/]);
});

t.test("with certificates", { skip: withoutOpenssl() }, async (t) => {
  const directory = t.testdir();
  const authority = new Authority(directory, "authority");
  const own = authority.issue("own", "DNS:mirror.example.com");
  const other = authority.issue("other", "DNS:other.example.com");
  const encrypt = ["pkey", "-in", join(directory, "own.key"), "-aes256", "-passout", "pass:hunter2"];
  const files = {
    "/ca.pem": authority.cert + other.cert,
    "/own.pem": own.cert,
    "/own.key": own.key,
    "/both.pem": own.cert + own.key,
    "/other.key": other.key,
    "/locked.key": execFileSync("openssl", encrypt, { encoding: "utf8" }),
  };

  await t.test("their texts reach the configuration; the key does not print", async (t) => {
    const { tls } = configOf({ yaml: yaml("ca: /ca.pem, cert: /own.pem, key: /own.key"), files })
      .upstreams[0];
    t.equal(tls?.ca, files["/ca.pem"]);
    t.equal(tls?.cert, own.cert);
    t.equal(tls?.key?.reveal(), own.key);
    t.equal(String(tls?.key), "[redacted]");
    const one = configOf({ yaml: yaml("cert: /both.pem, key: /both.pem"), files }).upstreams[0].tls;
    t.equal(one?.key?.reveal(), files["/both.pem"], "both may be in one file");
  });

  await t.test("the key is the certificate's, and can be read without a passphrase", async (t) => {
    t.same(problemsOf({ yaml: yaml("cert: /own.pem, key: /other.key"), files }), [
      "upstream.tls.cert (mirror.yaml:3:15): found a certificate that does not belong to the key, expected that of the key",
    ]);
    t.same(problemsOf({ yaml: yaml("cert: /own.pem, key: /locked.key"), files }), [
      'upstream.tls.key (mirror.yaml:3:30): found other content in "/locked.key", expected a key that is not encrypted',
    ]);
  });

  await t.test("what TLS would refuse at the first connection is refused at start", async (t) => {
    const made = ["req", "-x509", "-subj", "/CN=short", "-newkey", "rsa:512", "-nodes", "-days", "1"];
    const where = ["-keyout", join(directory, "short.key"), "-out", join(directory, "short.pem")];
    execFileSync("openssl", [...made, ...where], { stdio: "ignore" });
    const { readFileSync } = await import("node:fs");
    const short = {
      "/short.pem": readFileSync(join(directory, "short.pem"), "utf8"),
      "/short.key": readFileSync(join(directory, "short.key"), "utf8"),
    };
    t.match(problemsOf({ yaml: yaml("cert: /short.pem, key: /short.key"), files: short }), [
      /^upstream\.tls\.cert .*found a certificate that TLS refuses \(ERR_SSL_EE_KEY_TOO_SMALL\)/,
    ]);
  });
});
