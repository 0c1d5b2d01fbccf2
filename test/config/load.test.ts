import { hostname } from "node:os";
import t from "tap";
import { loadConfig } from "../../src/config/load.ts";
import { formatProblems } from "../../src/config/problem.ts";
import { defaultLimits } from "../../src/http/client-limits.ts";
import { configOf, passwordOf, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

t.test("a URL is all that is needed; the rest has the defaults of the design", async (t) => {
  t.same(configOf({ env: upstreamUrl }), {
    listen: { host: "0.0.0.0", port: 5000 },
    opsListen: { host: "127.0.0.1", port: 5001 },
    opsHosts: [],
    opsPage: {},
    nodes: [],
    siblings: [],
    trustedProxies: [],
    limits: { ...defaultLimits, exempt: [], rules: [] },
    node: { name: hostname() },
    redis: undefined,
    upstreams: [
      {
        name: "upstream",
        url: new URL("https://registry.example.com"),
        auth: { kind: "none" },
        tokenRealms: [],
        tls: undefined,
        redirectsTo: [],
        connectTimeout: 5000,
        firstByteTimeout: 30_000,
        idleTimeout: 30_000,
        maxConnections: 64,
        segments: 8,
        repositoryPrefix: "",
        namespaces: [],
        hosts: [],
        library: false,
        allow: [],
        deny: [],
        tags: { rules: [] },
        push: false,
        access: "open",
      },
    ],
    cache: {
      dir: "./data",
      maxSize: 50_000_000_000,
      evictTo: 0.9,
      smallBlob: 1_000_000,
      keepFree: 0.05,
      scrub: 604_800_000,
      rangesBeforeVerified: true,
      prefetch: 16_000_000,
    },
    tags: {
      ttl: 60_000,
      staleIfError: 604_800_000,
      refreshAhead: 0.5,
      staleWhileRevalidate: 0,
      rules: [],
    },
    workers: 1,
    teams: [],
    catalog: true,
    manifestsWithoutLayers: "serve",
    proofs: "own",
    cacheStatus: true,
    drainTimeout: 600_000,
    drainDelay: 7_000,
    log: { level: "info", format: "auto" },
    influx: undefined,
    serverTiming: false,
    via: false,
    warm: [],
    pin: { images: [], budget: { share: 0.5 }, refresh: 3_600_000 },
  });
});

t.test("everything can be set in the file", async (t) => {
  const yaml = `
listen: 127.0.0.1:0
opsListen: "[::1]:0"
opsHosts: Mirror.example.com
trustedProxies: [10.0.0.0/8, " ::1 "]
limits: {openAnswers: 2000, coldFills: 8, writes: 4, waiting: 0, exempt: 10.1.0.0/16}
catalog: false
manifestsWithoutLayers: refuse
proofs: shared
cacheStatus: false
drainTimeout: 0s
drainDelay: 250ms
log: {level: WARN, format: combined}
influx: {dir: /var/log/entrepot, maxFileSize: 2MB, keep: 0}
serverTiming: true
via: true
warm:
  - { images: ["team/app:1.*", team/web], at: 0 5 * * 1-5, platforms: [linux/amd64], bandwidth: 50MB }
pin: { images: ["far-away/team/**:v*"], budget: 20GB, refresh: 10m }
upstream:
  name: far-away
  url: https://registry.example.com/team
  username: mirror
  password: " p:w "
  connectTimeout: 1s
  firstByteTimeout: 2s
  idleTimeout: 3s
  maxConnections: 8
cache: {dir: /var/lib/entrepot, maxSize: 1MiB, evictTo: 50%, keepFree: 0%, scrub: 1s}
tags:
  ttl: 0s
  staleIfError: forever
  refreshAhead: 0%
  staleWhileRevalidate: 5m
  rules:
    - match: "**:latest"
      ttl: 10s
    - {match: "**:v*", ttl: forever}
`;
  const config = configOf({ yaml });
  t.match(config, {
    listen: { host: "127.0.0.1", port: 0 },
    opsListen: { host: "::1", port: 0 },
    opsHosts: ["mirror.example.com"],
    trustedProxies: ["10.0.0.0/8", "::1"],
    limits: { openAnswers: 2000, coldFills: 8, writes: 4, waiting: 0, exempt: ["10.1.0.0/16"], rules: [] },
    catalog: false,
    manifestsWithoutLayers: "refuse",
    proofs: "shared",
    cacheStatus: false,
    drainTimeout: 0,
    drainDelay: 250,
    log: { level: "warn", format: "combined" },
    warm: [
      {
        images: ["team/app:1.*", "team/web"],
        at: "0 5 * * 1-5",
        platforms: ["linux/amd64"],
        bandwidth: 50_000_000,
      },
    ],
    pin: { images: ["far-away/team/**:v*"], budget: { bytes: 20_000_000_000 }, refresh: 600_000 },
    influx: { dir: "/var/log/entrepot", maxFileSize: 2_000_000, keep: 0 },
    serverTiming: true,
    via: true,
    upstreams: [
      {
        name: "far-away",
        auth: { kind: "basic", username: "mirror" },
        connectTimeout: 1000,
        firstByteTimeout: 2000,
        idleTimeout: 3000,
        maxConnections: 8,
      },
    ],
    cache: {
      dir: "/var/lib/entrepot",
      maxSize: 1_048_576,
      evictTo: 0.5,
      smallBlob: 1_000_000,
      keepFree: 0,
      scrub: 1_000,
    },
    tags: {
      ttl: 0,
      staleIfError: Number.POSITIVE_INFINITY,
      refreshAhead: 0,
      staleWhileRevalidate: 300_000,
      rules: [
        { match: "**:latest", ttl: 10_000 },
        { match: "**:v*", ttl: Number.POSITIVE_INFINITY },
      ],
    },
  });
  t.equal(await passwordOf(config), " p:w ");
  t.equal(config.upstreams[0].url.href, "https://registry.example.com/team");
});

t.test("the environment wins, key by key", async (t) => {
  const yaml =
    "upstream: {url: https://a.example.com, idleTimeout: 1s}\ntags: {ttl: 1s, rules: [{match: x, ttl: 1s}]}\n";
  const config = configOf({
    yaml,
    env: { ENTREPOT_UPSTREAM_URL: "https://b.example.com", ENTREPOT_TAG_TTL: "9s" },
  });
  t.equal(config.upstreams[0].url.hostname, "b.example.com");
  t.equal(config.upstreams[0].idleTimeout, 1000);
  t.equal(config.tags.ttl, 9000);
  t.equal(config.tags.rules.length, 1);
});

t.test("every problem is reported at once: those of the file by line, then the environment", async (t) => {
  const yaml = `listen: 5000
upstream:
  url: https://u:hunter2@registry.example.com/v2
  username: bob
  conectTimeout: 5s
  idleTimeout: 5
tags:
  rules:
    - match: "**:latest"
      ttl: 5
    - {ttl: 1s}
`;
  const env = { ENTREPOT_CACHE_MAX_SIZE: "50", ENTREPOT_LISTN: "x", ENTREPOT_CATALOG: "yes" };
  const problems = problemsOf({ yaml, env });
  t.same(
    problems.map((line) => line.replace(/:? (?:found|expected|there).*/, "")),
    [
      "listen (mirror.yaml:1:9)",
      "upstream.url (mirror.yaml:3:8)",
      "upstream.username (mirror.yaml:4:13)",
      "upstream.conectTimeout (mirror.yaml:5:3)",
      "upstream.idleTimeout (mirror.yaml:6:16)",
      "tags.rules[0].ttl (mirror.yaml:10:12)",
      "tags.rules[1].match (mirror.yaml:11:7)",
      "ENTREPOT_LISTN",
      "ENTREPOT_CATALOG",
      "ENTREPOT_CACHE_MAX_SIZE",
    ],
  );
  t.equal(
    problems[4],
    'upstream.idleTimeout (mirror.yaml:6:16): found "5", expected a unit after the number: 5ms, 5s, 5m, 5h or 5d',
  );
  t.notMatch(problems.join("\n"), /hunter2/);
});

t.test("each setting has its rule", async (t) => {
  for (const [name, value, says] of [
    ["LISTEN", "localhost", /expected host:port/],
    ["OPS_LISTEN", "5001", /":5001"/],
    ["CATALOG", "1", /expected true or false/],
    ["DRAIN_TIMEOUT", "25d", /at most 24d/],
    ["DRAIN_TIMEOUT", "forever", /a duration with a unit/],
    ["LOG_LEVEL", "verbose", /one of trace, debug, info, warn, error, silent/],
    ["LOG_FORMAT", "ncsa", /one of auto, json, text, combined/],
    ["INFLUX_MAX_FILE_SIZE", "64", /64MB/],
    ["INFLUX_KEEP", "101", /from 0 to 100/],
    ["UPSTREAM_NAME", "v2", /and not v2/],
    ["UPSTREAM_NAME", "Docker", /1 to 32 of a-z/],
    ["UPSTREAM_NAME", "a".repeat(33), /1 to 32 of a-z/],
    ["UPSTREAM_URL", "registry.example.com", /found "registry.example.com", expected an http or https URL/],
    ["UPSTREAM_CONNECT_TIMEOUT", "0s", /at least 1ms/],
    ["UPSTREAM_CONNECT_TIMEOUT", "forever", /a duration with a unit/],
    ["UPSTREAM_FIRST_BYTE_TIMEOUT", "30", /a unit after the number/],
    ["UPSTREAM_IDLE_TIMEOUT", "25d", /at most 24d/],
    ["UPSTREAM_MAX_CONNECTIONS", "0", /a whole number from 1 to 10000/],
    ["UPSTREAM_MAX_CONNECTIONS", "1.5", /a whole number/],
    ["CACHE_DIR", " ", /a path/],
    ["CACHE_MAX_SIZE", "999kB", /at least 1MB/],
    ["CACHE_EVICT_TO", "0%", /a percentage from 1% to 100%/],
    ["CACHE_KEEP_FREE", "95%", /a percentage from 0% to 90%/],
    ["CACHE_KEEP_FREE", "0.05", /a percentage with its sign/],
    ["TAG_TTL", "60", /60s/],
    ["STALE_IF_ERROR", "never", /or forever/],
  ] as const) {
    const variable = `ENTREPOT_${name}`;
    const problems = problemsOf({ env: { ...upstreamUrl, [variable]: value } });
    t.equal(problems.length, 1, `${variable}=${value}`);
    t.match(problems[0], says);
    t.ok(problems[0]?.startsWith(`${variable}: found `));
  }
});

t.test("spaces around a value do not matter, but for credentials", async (t) => {
  const env = {
    ENTREPOT_UPSTREAM_URL: " https://registry.example.com ",
    ENTREPOT_UPSTREAM_MAX_CONNECTIONS: " 3 ",
    ENTREPOT_TAG_TTL: "9s\r",
    ENTREPOT_UPSTREAM_USERNAME: " u",
    ENTREPOT_UPSTREAM_PASSWORD: "p ",
  };
  const config = configOf({ env });
  t.match(config, { tags: { ttl: 9000 }, upstreams: [{ auth: { username: " u" }, maxConnections: 3 }] });
  t.equal(await passwordOf(config), "p ");
});

t.test("rules are bounded", async (t) => {
  const rules = (count: number) =>
    `upstream: {url: https://a.example.com}\ntags:\n  rules:\n${"    - {match: x, ttl: 1s}\n".repeat(count)}`;
  t.equal(configOf({ yaml: rules(100) }).tags.rules.length, 100);
  t.match(problemsOf({ yaml: rules(101) }), [
    "tags.rules (mirror.yaml:4:5): found 101 items, expected at most 100 rules",
  ]);
});

t.test("without a registry to mirror the answer says what to set", async (t) => {
  const result = loadConfig({ env: {}, readFile: () => "" });
  const text = result.ok ? "" : formatProblems(result.problems);
  t.match(text, /^entrepot: upstream\.url: no registry to mirror is configured\n/);
  for (const needed of ["ENTREPOT_UPSTREAM_URL=", "--config", "upstream:\n", "entrepot demo"])
    t.ok(text.includes(needed), needed);
});

t.test("a file that is not YAML is not also blamed for what it may well set", async (t) => {
  t.match(problemsOf({ yaml: "upstream: [\n", env: { ENTREPOT_TAG_TTL: "1" } }), [
    /not valid YAML/,
    /^ENTREPOT_TAG_TTL/,
  ]);
});
