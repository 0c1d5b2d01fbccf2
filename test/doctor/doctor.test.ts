// Set-ups that are broken, each in one way: the doctor names the check that fails, and no other.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer as createHttpServer, type RequestListener } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type DoctorOptions, examineNode, pulledFrom } from "../../src/doctor/doctor.ts";
import type { Check } from "../../src/doctor/examination.ts";
import { doctorReportSchema, formatPart, formatSummary, reportOf } from "../../src/doctor/report.ts";
import { lockDirectory } from "../../src/storage/disk/directory-lock.ts";
import { Layout } from "../../src/storage/disk/layout.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { makeImage, makeIndex } from "../fixtures/images.ts";
import { configOf, upstreamsYaml } from "../fixtures/loading.ts";
import { startProxy } from "../fixtures/scripted-proxy.ts";
import { refused, startS3 } from "../fixtures/scripted-s3.ts";
import { type ScriptedUpstream, startUpstream, type UpstreamOptions } from "../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../fixtures/token-server.ts";

t.setTimeout(120_000);

/** The password every account here has: it is printed nowhere. */
const password = "s3cret";
const repository = "team/app";
const image = makeImage({ layers: [4096, 512] });

/** A registry with an image. */
async function registry(t: Test, options: UpstreamOptions = {}): Promise<ScriptedUpstream> {
  const upstream = await startUpstream(t, options);
  upstream.addImage(repository, "1.0", image);
  return upstream;
}

interface Setup {
  /** Settings of the upstream, in braces. */
  readonly upstream: string;
  /** Other settings, as lines of YAML. */
  readonly more?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
  readonly dir?: string;
  readonly listen?: string;
  readonly options?: Partial<DoctorOptions>;
}

const account = `username: ci, password: ${password}`;

async function diagnose(t: Test, setup: Setup): Promise<readonly Check[]> {
  const dir = setup.dir ?? join(t.testdir(), "data");
  const yaml = [
    upstreamsYaml(`name: main, ${setup.upstream}`),
    `cache: {dir: ${JSON.stringify(dir)}}`,
    `listen: ${JSON.stringify(setup.listen ?? "127.0.0.1:0")}`,
    `opsListen: "127.0.0.1:0"`,
    setup.more ?? "",
  ].join("\n");
  const { env = {}, files = {} } = setup;
  const checks = await examineNode(configOf({ yaml, env, files }), {
    image: `${repository}:1.0`,
    mirrorRuns: false,
    warnings: [],
    ...setup.options,
  });
  const report = reportOf(checks, "1.2.3", new Date());
  doctorReportSchema.parse(JSON.parse(JSON.stringify(report)));
  const printed = JSON.stringify(report) + formatPart(checks) + formatSummary(checks);
  t.notOk(printed.includes(password), "the password is not printed");
  for (const { name, outcome, fix } of checks)
    t.equal(
      fix !== undefined,
      outcome === "failed" || outcome === "warning",
      `${name}: a fix where one is due`,
    );
  return checks;
}

const named = (checks: readonly Check[], outcome: Check["outcome"]): string[] =>
  checks.filter((check) => check.outcome === outcome).map(({ part, name }) => `${part}: ${name}`);

/** Exactly this check fails, for this reason and with this fix. */
async function fails(t: Test, setup: Setup, where: string, seen: RegExp, fix: RegExp): Promise<void> {
  const checks = await diagnose(t, setup);
  const failing = checks.filter(({ outcome }) => outcome === "failed");
  t.same(named(checks, "failed"), [where], "what fails, once");
  t.match(failing[0]?.seen, seen);
  t.match(failing[0]?.fix, fix);
}

/** A server that answers so. */
async function server(t: Test, answer: RequestListener): Promise<string> {
  return await listening(t, createHttpServer(answer));
}

async function listening(t: Test, server: ReturnType<typeof createHttpServer>): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A port of this machine on which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

t.test("a healthy set-up: nothing fails", async (t) => {
  const upstream = await registry(t);
  const checks = await diagnose(t, { upstream: `url: "${upstream.url}", ${account}` });
  t.same(named(checks, "failed"), []);
  const found = named(checks, "ok");
  for (const name of ["connect", "/v2/", "clock", "auth", "tag", "manifest", "range", "ranges", "referrers"])
    t.ok(found.includes(`upstream main: ${name}`), name);
  for (const each of ["cache: directory", "cache: holder", "cache: space", "listeners: listen"])
    t.ok(found.includes(each), each);
  t.ok(upstream.bytesSent < 8_000, `${upstream.bytesSent} bytes were fetched`);
});

t.test("a healthy one with tokens", async (t) => {
  const tokens = await startTokenServer(t);
  const upstream = await registry(t, { bearer: tokens });
  for (const who of [`${account}, `, ""]) {
    tokens.open.add(repository);
    const checks = await diagnose(t, {
      upstream: `url: "${upstream.url}", ${who}tokenRealms: ["${tokens.realm.host}"]`,
    });
    t.same(named(checks, "failed"), []);
    t.ok(named(checks, "ok").includes("upstream main: range"));
    t.ok(named(checks, who === "" ? "skipped" : "ok").includes("upstream main: auth"));
  }
});

t.test("a healthy one with an index, https, a proxy and S3", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const tls = authority.issue("registry", "DNS:registry.example.com");
  const upstream = await startUpstream(t, { tls });
  upstream.addIndex(repository, "1.0", makeIndex([image]));
  const proxy = await startProxy(t, { account: `ci:${password}` });
  proxy.ports.set("registry.example.com:443", Number(upstream.url.port));
  const s3 = await startS3(t);
  const checks = await diagnose(t, {
    upstream: `url: "https://registry.example.com${upstream.url.pathname}", ${account}, tls: {ca: ca.pem}, proxy: "${proxy.href()}"`,
    files: { "ca.pem": authority.cert },
    more: s3Yaml(s3.url),
  });
  t.same(named(checks, "failed"), []);
  const found = [...named(checks, "ok"), ...named(checks, "warning")];
  for (const each of [
    "upstream main: proxy",
    "upstream main: tls",
    "upstream main: auth",
    "upstream main: range",
    "s3: bucket",
    "s3: write",
    "s3: read",
    "s3: delete",
  ])
    t.ok(found.includes(each), each);
  t.equal(s3.objects.size, 0, "nothing is left in S3");
});

// ---- the way there --------------------------------------------------------------------------------------------------

t.test("a proxy that is not there", async (t) => {
  const port = await closedPort();
  await fails(
    t,
    { upstream: "url: https://registry.example.com", env: { HTTPS_PROXY: `http://127.0.0.1:${port}` } },
    "upstream main: proxy",
    /could not be reached \(ECONNREFUSED\)/,
    /HTTPS_PROXY/,
  );
});

t.test("a proxy that wants an account, tunnelling and forwarding", async (t) => {
  const proxy = await startProxy(t, { account: `ci:${password}` });
  for (const scheme of ["https", "http"])
    await fails(
      t,
      { upstream: `url: "${scheme}://registry.example.com", proxy: "${proxy.href("http", "ci:wrong")}"` },
      "upstream main: proxy",
      /refuses our account, or wants one \(status 407\)/,
      /account in the proxy's URL/,
    );
});

t.test("a proxy that does not let us through", async (t) => {
  const proxy = await startProxy(t);
  proxy.fault = 403;
  await fails(
    t,
    { upstream: `url: https://registry.example.com, proxy: "${proxy.href()}"` },
    "upstream main: proxy",
    /does not let us through/,
    /allow this host/,
  );
});

t.test("a proxy that cannot reach the registry: the hop behind it is named", async (t) => {
  const proxy = await startProxy(t);
  for (const [scheme, fault] of [
    ["http", 502],
    ["socks5", 5],
  ] as const) {
    proxy.fault = fault;
    await fails(
      t,
      { upstream: `url: https://registry.example.com, proxy: "${proxy.href(scheme)}"` },
      "upstream main: connect",
      /could not connect/,
      /host and port of url/,
    );
  }
});

t.test("a name that is not known", async (t) =>
  fails(
    t,
    { upstream: "url: https://registry.invalid" },
    "upstream main: dns",
    /registry\.invalid \((?:ENOTFOUND|EAI_AGAIN)\)/,
    /DNS|name servers/,
  ),
);

t.test("a port on which nobody listens", async (t) => {
  const port = await closedPort();
  await fails(
    t,
    { upstream: `url: "http://127.0.0.1:${port}", ${account}` },
    "upstream main: connect",
    /ECONNREFUSED/,
    /port in url/,
  );
});

t.test("TLS", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const here = "IP:127.0.0.1";
  const files = { "ca.pem": authority.cert };
  const trusting = `${account}, tls: {ca: ca.pem}`;

  await t.test("healthy", async (t) => {
    const upstream = await registry(t, { tls: authority.issue("good", here) });
    const checks = await diagnose(t, { upstream: `url: "${upstream.url}", ${trusting}`, files });
    t.same(named(checks, "failed"), []);
    t.match(named(checks, "warning"), ["upstream main: tls"], "a day is left");
  });

  await t.test("a certificate that has expired", async (t) => {
    const upstream = await registry(t, { tls: authority.issue("old", here, "/CN=old", -1) });
    await fails(
      t,
      { upstream: `url: "${upstream.url}", ${trusting}`, files },
      "upstream main: tls",
      /its certificate has expired/,
      /renewed/,
    );
  });

  await t.test("an authority that is not trusted", async (t) => {
    const upstream = await registry(t, { tls: authority.issue("unknown", here) });
    await fails(
      t,
      { upstream: `url: "${upstream.url}", ${account}` },
      "upstream main: tls",
      /authority of its certificate is not trusted/,
      /tls\.ca/,
    );
  });

  await t.test("a certificate for another name", async (t) => {
    const upstream = await registry(t, { tls: authority.issue("other", "DNS:other.example.com") });
    await fails(
      t,
      { upstream: `url: "${upstream.url}", ${trusting}`, files },
      "upstream main: tls",
      /for another name/,
      /tls\.serverName/,
    );
  });

  await t.test("a registry that wants a client certificate and closes the connection", async (t) => {
    const tls = { ...authority.issue("wanting", here), ca: authority.cert };
    const upstream = await registry(t, { tls: { ...tls, requestCert: true, rejectUnauthorized: true } });
    await fails(
      t,
      { upstream: `url: "${upstream.url}", ${trusting}`, files },
      "upstream main: tls",
      /client certificate/,
      /tls\.cert and tls\.key/,
    );
  });

  await t.test("one that says so in HTTP, as nginx does", async (t) => {
    const at = await listening(
      t,
      createHttpsServer(authority.issue("nginx", here), (_, response) => {
        response.writeHead(400, { "content-type": "text/html" });
        response.end("<html><center>No required SSL certificate was sent</center></html>");
      }),
    );
    await fails(
      t,
      { upstream: `url: "https://${at}", ${trusting}`, files },
      "upstream main: tls",
      /refuses our TLS certificate, or wants one/,
      /tls\.cert and tls\.key/,
    );
  });

  await t.test("plain http behind https://", async (t) => {
    const upstream = await registry(t);
    await fails(
      t,
      { upstream: `url: "${upstream.url.href.replace("http:", "https:")}", ${account}` },
      "upstream main: tls",
      /over TLS/,
      /write http:\/\/ in url/,
    );
  });

  await t.test("a server that never answers the handshake", async (t) => {
    const silent = createServer((socket) => void socket.on("error", () => {}).resume()).listen(
      0,
      "127.0.0.1",
    );
    await once(silent, "listening");
    t.teardown(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    await fails(
      t,
      { upstream: `url: "https://127.0.0.1:${port}", connectTimeout: 1s` },
      "upstream main: tls",
      /did not accept a connection in time/,
      /speaks TLS/,
    );
  });

  await t.test("a listener's certificate that has expired", async (t) => {
    const { cert, key } = authority.issue("listener", here, "/CN=listener", -1);
    const dir = t.testdir({ "cert.pem": cert, "key.pem": key });
    const [certFile, keyFile] = [join(dir, "cert.pem"), join(dir, "key.pem")];
    const upstream = await registry(t);
    await fails(
      t,
      {
        upstream: `url: "${upstream.url}", ${account}`,
        more: `listenTls: {certFile: ${certFile}, keyFile: ${keyFile}}`,
        files: { [certFile]: cert, [keyFile]: key },
        dir: join(dir, "data"),
      },
      "listeners: listenTls",
      /ended on/,
      /Renew/,
    );
  });
});

// ---- the registry ---------------------------------------------------------------------------------------------------

t.test("a path where no registry is", async (t) => {
  const upstream = await registry(t);
  await fails(
    t,
    { upstream: `url: "${upstream.url.origin}/wrong", ${account}` },
    "upstream main: /v2/",
    /not answered by a registry \(status 404\)/,
    /Set url/,
  );
});

t.test("a sign-in page", async (t) => {
  const at = await server(t, (_, response) => {
    response.writeHead(200, { "content-type": "text/html" }).end("<html>sign in</html>");
  });
  await fails(t, { upstream: `url: "http://${at}"` }, "upstream main: /v2/", /a web page/, /Set url/);
});

t.test("a load balancer without a registry behind it", async (t) => {
  const at = await server(t, (_, response) => void response.writeHead(502).end());
  await fails(t, { upstream: `url: "http://${at}"` }, "upstream main: /v2/", /fails \(status 502\)/, /Mend/);
});

t.test("one that never answers", async (t) => {
  const at = await server(t, () => {});
  await fails(
    t,
    { upstream: `url: "http://${at}"`, options: { timeout: 2_000 } },
    "upstream main: /v2/",
    /no answer within 2 s/,
    /in time/,
  );
});

t.test("a clock that is wrong", async (t) => {
  for (const [seconds, says] of [
    [-3600, /36\d\d s ahead of/],
    [3600, /(?:36|35)\d\d s behind/],
  ] as const) {
    const upstream = await registry(t);
    upstream.fault(() => ({ headers: { date: new Date(Date.now() + seconds * 1000).toUTCString() } }));
    await fails(t, { upstream: `url: "${upstream.url}", ${account}` }, "upstream main: clock", says, /NTP/);
  }
});

t.test("a wrong password, for the registry and for its token server", async (t) => {
  const upstream = await registry(t);
  const wrong = "username: ci, password: wrong";
  const fix = /Correct username and password/;
  await fails(t, { upstream: `url: "${upstream.url}", ${wrong}` }, "upstream main: auth", /status 401/, fix);
  const tokens = await startTokenServer(t);
  const bearer = await registry(t, { bearer: tokens });
  await fails(
    t,
    { upstream: `url: "${bearer.url}", ${wrong}, tokenRealms: ["${tokens.realm.host}"]` },
    "upstream main: auth",
    /its token server .* refused our account/,
    fix,
  );
});

t.test("an account that is locked", async (t) => {
  const upstream = await registry(t);
  const errors = [{ status: 403, message: "Blocked due to recurrent login failures" }];
  upstream.fault(({ headers }) =>
    headers.authorization === undefined
      ? undefined
      : { status: 403, headers: { "content-type": "application/json" }, body: JSON.stringify({ errors }) },
  );
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}` },
    "upstream main: auth",
    /Blocked due to recurrent login failures/,
    /unlocked at the registry/,
  );
});

t.test("a token server that is not there, and one on another host", async (t) => {
  const tokens = await startTokenServer(t);
  const upstream = await registry(t, { bearer: tokens });
  const port = await closedPort();
  tokens.called = new URL(`http://127.0.0.1:${port}/token`);
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}, tokenRealms: ["127.0.0.1:${port}"]` },
    "upstream main: auth",
    /token server 127\.0\.0\.1:\d+ could not be reached \(ECONNREFUSED\)/,
    /reach the token server/,
  );
  tokens.called = new URL("http://auth.example.com/token");
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}` },
    "upstream main: auth",
    /auth\.example\.com, which is not on its own domain/,
    /tokenRealms/,
  );
});

// ---- a pull ---------------------------------------------------------------------------------------------------------

t.test("a tag that is not there", async (t) => {
  const upstream = await registry(t);
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}`, options: { image: `${repository}:2.0` } },
    "upstream main: tag",
    /there is no team\/app:2\.0/,
    /--image/,
  );
});

t.test("a repository the account may not read", async (t) => {
  const upstream = await registry(t, { users: { ci: { password, reads: ["other"] } } });
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}` },
    "upstream main: tag",
    /team\/app:1\.0 is refused to our account/,
    /right to read team\/app/,
  );
});

t.test("a manifest that was changed on the way", async (t) => {
  const upstream = await registry(t);
  upstream.fault(({ kind, method }) =>
    kind === "manifest" && method === "GET" ? { corrupt: true } : undefined,
  );
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}` },
    "upstream main: manifest",
    /does not have the digest/,
    /changes answers/,
  );
});

t.test("a layer that is not there", async (t) => {
  const upstream = await registry(t);
  upstream.fault(({ kind }) => (kind === "blob" ? { status: 404 } : undefined));
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}` },
    "upstream main: range",
    /is not there, though its manifest is/,
    /storage/,
  );
});

t.test("layers in a storage that cannot be reached, and one that may not be", async (t) => {
  const upstream = await registry(t);
  const port = await closedPort();
  upstream.fault(({ kind }) =>
    kind === "blob"
      ? { status: 307, headers: { location: `http://127.0.0.1:${port}/blob?sig=hidden` } }
      : undefined,
  );
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}, redirectsTo: [127.0.0.1]` },
    "upstream main: range",
    /redirected to 127\.0\.0\.1:\d+, could not be reached \(ECONNREFUSED\)$/,
    /reach 127\.0\.0\.1:\d+, where the registry keeps/,
  );
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}` },
    "upstream main: range",
    /in a private network and not listed/,
    /redirectsTo/,
  );
});

t.test("ranges that are ignored are warned of, since pulls work", async (t) => {
  const upstream = await registry(t);
  upstream.fault(({ kind }) => (kind === "blob" ? { ignoreRange: true } : undefined));
  const checks = await diagnose(t, { upstream: `url: "${upstream.url}", ${account}` });
  t.same(named(checks, "failed"), []);
  t.ok(named(checks, "warning").includes("upstream main: range"));
  t.ok(named(checks, "warning").includes("upstream main: ranges"));
});

// ---- what nodes share -------------------------------------------------------------------------------------------------

t.test("a Redis that is not there", async (t) => {
  const upstream = await registry(t);
  await fails(
    t,
    {
      upstream: `url: "${upstream.url}", ${account}`,
      more: `redis: {url: "redis://127.0.0.1:${await closedPort()}"}`,
    },
    "redis: connect",
    /ECONNREFUSED/,
    /Start Redis/,
  );
});

function s3Yaml(url: URL): string {
  return `s3: {endpoint: "${url.href}", bucket: blobs, region: us-east-1, accessKeyId: key, secretAccessKey: ${password}}`;
}

t.test("an S3 that is not there", async (t) => {
  const upstream = await registry(t);
  await fails(
    t,
    {
      upstream: `url: "${upstream.url}", ${account}`,
      more: s3Yaml(new URL(`http://127.0.0.1:${await closedPort()}`)),
    },
    "s3: bucket",
    /ECONNREFUSED/,
    /s3\.endpoint/,
  );
});

t.test("an S3 that refuses", async (t) => {
  const upstream = await registry(t);
  for (const [status, code, fix] of [
    [403, "InvalidAccessKeyId", /s3\.accessKeyId/],
    [403, "SignatureDoesNotMatch", /s3\.secretAccessKey/],
    [403, "RequestTimeTooSkewed", /clock/],
    [404, "NoSuchBucket", /Make the bucket/],
    [400, "AuthorizationHeaderMalformed", /s3\.region/],
    [403, "AccessDenied", /s3:ListBucket/],
  ] as const) {
    const s3 = await startS3(t);
    s3.fault(() => refused(status, code));
    const setup = { upstream: `url: "${upstream.url}", ${account}`, more: s3Yaml(s3.url) };
    await fails(t, setup, "s3: bucket", new RegExp(`${status} ${code}`), fix);
  }
});

t.test("an S3 that lets nothing be written, or deleted", async (t) => {
  const upstream = await registry(t);
  for (const [operation, name, fix] of [
    ["put", "s3: write", /s3:PutObject/],
    ["delete", "s3: delete", /s3:DeleteObject/],
  ] as const) {
    const s3 = await startS3(t);
    s3.faultOf(operation, refused(403, "AccessDenied"));
    const setup = { upstream: `url: "${upstream.url}", ${account}`, more: s3Yaml(s3.url) };
    await fails(t, setup, name, /403 AccessDenied/, fix);
  }
});

t.test("a node that takes this one for none, and one that is not there", async (t) => {
  const upstream = await registry(t);
  const at = await server(t, (_, response) => void response.writeHead(404).end());
  const gone = `http://127.0.0.1:${await closedPort()}`;
  const secret = "0123456789abcdef0123456789abcdef";
  const checks = await diagnose(t, {
    upstream: `url: "${upstream.url}", ${account}`,
    more: `node: {name: a, address: "http://a.example.com:5000", secret: ${secret}}\nnodes: ["http://${at}", "${gone}"]`,
  });
  t.same(named(checks, "failed"), [`nodes: http://${at}`]);
  t.match(
    checks.find(({ outcome }) => outcome === "failed"),
    { fix: /node\.secret/ },
  );
  t.same(
    checks.filter(({ part, outcome }) => part === "nodes" && outcome === "warning").map(({ name }) => name),
    [gone],
    "one that is away is passed over",
  );
  t.notOk(JSON.stringify(checks).includes(secret));
});

t.test("a sibling that refuses the account, and one that is not there", async (t) => {
  const upstream = await registry(t);
  const sibling = await registry(t, { path: "" });
  const gone = `http://127.0.0.1:${await closedPort()}`;
  const checks = await diagnose(t, {
    upstream: `url: "${upstream.url}", ${account}`,
    more: `siblings:
  - {name: east, url: "${sibling.url.origin}", username: ci, password: wrong}
  - {name: west, url: "${gone}"}`,
  });
  t.same(named(checks, "failed"), ["siblings: east"]);
  t.ok(named(checks, "warning").includes("siblings: west"));
});

// ---- this machine -----------------------------------------------------------------------------------------------------

t.test("a cache directory below a file", async (t) => {
  const upstream = await registry(t);
  const dir = join(t.testdir({ file: "" }), "file");
  await fails(
    t,
    { upstream: `url: "${upstream.url}", ${account}`, dir: join(dir, "cache") },
    "cache: directory",
    /ENOTDIR/,
    /is a file/,
  );
});

t.test("a cache directory that another process uses", async (t) => {
  const upstream = await registry(t);
  const dir = t.testdir();
  const lock = lockDirectory(dir, new Layout(dir).spoolLock);
  t.teardown(() => lock.release());
  const setup = { upstream: `url: "${upstream.url}", ${account}`, dir };
  await fails(t, setup, "cache: holder", /process \d+ .*uses/, /Stop that process/);
  const beside = await diagnose(t, { ...setup, options: { mirrorRuns: true } });
  t.same(named(beside, "failed"), [], "a mirror that runs there is no failure");
  t.throws(() => lockDirectory(dir, new Layout(dir).spoolLock), /in use/, "and keeps its lock");
});

t.test("a port that is taken, and an address that is not this machine's", async (t) => {
  const upstream = await registry(t);
  const at = await server(t, () => {});
  const setup = { upstream: `url: "${upstream.url}", ${account}` };
  await fails(
    t,
    { ...setup, listen: at },
    "listeners: listen",
    /another program already listens there/,
    /another port/,
  );
  await fails(
    t,
    { ...setup, listen: "192.0.2.1:5000" },
    "listeners: listen",
    /this machine has no such address/,
    /another address/,
  );
});

t.test("a cache larger than its disk", async (t) => {
  const upstream = await registry(t);
  const checks = await diagnose(t, {
    upstream: `url: "${upstream.url}", ${account}`,
    more: "",
    env: { ENTREPOT_CACHE_MAX_SIZE: "9000TB" },
  });
  t.same(named(checks, "failed"), []);
  t.ok(named(checks, "warning").includes("cache: space"));
});

// ---- what is looked at ------------------------------------------------------------------------------------------------

t.test("several upstreams fail by themselves, and one can be looked at alone", async (t) => {
  const upstream = await registry(t);
  const port = await closedPort();
  const yaml = [
    upstreamsYaml(`name: a, url: "http://127.0.0.1:${port}"`, `name: b, url: "${upstream.url}", ${account}`),
    `cache: {dir: ${JSON.stringify(join(t.testdir(), "data"))}}`,
    'listen: "127.0.0.1:0"\nopsListen: "127.0.0.1:0"',
  ].join("\n");
  const options = { image: `b/${repository}:1.0`, mirrorRuns: false, warnings: [] };
  t.same(named(await examineNode(configOf({ yaml }), options), "failed"), ["upstream a: connect"]);
  const alone = await examineNode(configOf({ yaml }), { ...options, upstream: "b" });
  t.same(named(alone, "failed"), []);
  t.notOk(alone.some(({ part }) => part === "upstream a"));
});

t.test("an upstream that is offline is asked for nothing", async (t) => {
  const upstream = await registry(t);
  const checks = await diagnose(t, { upstream: `url: "${upstream.url}", ${account}, offline: true` });
  t.same(named(checks, "failed"), []);
  t.equal(upstream.requests.length, 0);
});

t.test("what is pulled", async (t) => {
  const config = configOf({
    yaml: `${upstreamsYaml(
      'name: hub, url: "https://registry-1.docker.io"',
      'name: far, url: "https://far.example.com"',
      'name: none, url: "https://none.example.com"',
    )}pin: {images: ["far/team/**:v*", "far/team/base:1"]}\n`,
  });
  const [hub, far, none] = config.upstreams;
  const of = (upstream = hub, image?: string) => pulledFrom(upstream, config, image);
  t.match(of(hub), { repository: "library/busybox", reference: { tag: "latest" } });
  t.match(of(far), { repository: "team/base", reference: { tag: "1" } });
  t.match(of(none), { missing: /--image/ });
  t.match(
    of(hub, "busybox:1"),
    { repository: "library/busybox" },
    "the first upstream's where nothing says which",
  );
  t.match(of(far, "busybox:1"), { missing: /not of this upstream/ });
  t.match(of(far, "far.example.com/team/app:2"), { repository: "team/app", reference: { tag: "2" } });
  t.match(of(hub, "docker.io/team/app"), { repository: "team/app" });
});

t.test("a command that is interrupted skips what is left", async (t) => {
  const at = await server(t, () => {});
  const ending = new AbortController();
  const checks = diagnose(t, { upstream: `url: "http://${at}"`, options: { signal: ending.signal } });
  ending.abort();
  const found = await checks;
  t.same(named(found, "failed"), []);
  t.ok(found.some(({ seen }) => /time for all checks/.test(seen)));
});

t.test("the program beside it is not disturbed: the cache directory keeps what it had", async (t) => {
  const upstream = await registry(t);
  const dir = t.testdir({ "index.db": "as it is" });
  writeFileSync(join(dir, "spool.lock"), "");
  await diagnose(t, { upstream: `url: "${upstream.url}", ${account}`, dir });
  t.equal(execFileSync("ls", ["-A", dir], { encoding: "utf8" }), "index.db\nspool.lock\n");
});
