import t from "tap";
import { Freshness, type FreshnessOptions } from "../../src/cache/freshness.ts";
import type { TagRecord } from "../../src/ports/records.ts";
import { repo, sha256 } from "../fixtures/memory-upstream.ts";

const now = Date.UTC(2026, 0, 1);

function freshness(options: Partial<FreshnessOptions> = {}): Freshness {
  return new Freshness({
    ttl: 60_000,
    rules: [],
    staleIfError: 1_000_000,
    staleWhileRevalidate: 0,
    ...options,
  });
}

const hub = { upstream: "hub" };

function record(age: number): TagRecord {
  return { digest: sha256(Buffer.from("a")), mediaType: "a/b", size: 1, checkedAt: now - age };
}

t.test("fresh for the TTL, stale for as long as errors are bridged, then expired", async (t) => {
  const { state } = bound(freshness());
  for (const [age, expected] of [
    [0, "fresh"],
    [59_999, "fresh"],
    [60_000, "stale"],
    [1_059_999, "stale"],
    [1_060_000, "expired"],
  ] as const)
    t.equal(state(hub, record(age), 60_000, now), expected, `${age} ms`);
});

t.test("a TTL of 0 is never fresh, one of Infinity always", async (t) => {
  const { state } = bound(freshness());
  t.equal(state(hub, record(0), 0, now), "stale");
  t.equal(state(hub, record(1e15), Number.POSITIVE_INFINITY, now), "fresh");
  t.equal(state(hub, record(-1e15), Number.POSITIVE_INFINITY, now), "fresh");
});

t.test("nothing is served from beyond its TTL when errors are not to be bridged", async (t) => {
  const { state } = bound(freshness({ staleIfError: 0 }));
  t.equal(state(hub, record(59_999), 60_000, now), "fresh");
  t.equal(state(hub, record(60_000), 60_000, now), "expired");
});

t.test(
  "a clock that went back a little changes nothing; a record from further ahead is asked for",
  async (t) => {
    const { state } = bound(freshness());
    for (const ttl of [60_000, 86_400_000]) {
      t.equal(state(hub, record(-300_000), ttl, now), "fresh");
      t.equal(state(hub, record(-300_001), ttl, now), "stale", "whatever the TTL");
      t.equal(state(hub, record(-1e12), ttl, now), "stale", "but may be served while upstream fails");
    }
  },
);

t.test("the first rule that matches repository:tag decides", async (t) => {
  const { ttl } = bound(
    freshness({
      rules: [
        { match: "team/*:latest", ttl: 1 },
        { match: "team/**:v*", ttl: Number.POSITIVE_INFINITY },
        { match: "team/**", ttl: 2 },
        { match: "**:edge-*", ttl: 3 },
        { match: ":nightly", ttl: 4 },
        { match: "solo:", ttl: 5 },
      ],
    }),
  );
  t.equal(ttl("team/app", "latest"), 1);
  t.equal(ttl("team/app", "v1.2"), Number.POSITIVE_INFINITY);
  t.equal(ttl("team/app/web", "v1"), Number.POSITIVE_INFINITY);
  t.equal(ttl("team/app/web", "latest"), 2, "one star does not cross a slash");
  t.equal(ttl("other/app", "latest"), 60_000);
  t.equal(ttl("team/web", "v1x"), Number.POSITIVE_INFINITY);
  t.equal(ttl("team/web", "1v"), 2, "without a tag, any tag");
  for (const name of ["app", "other/app", "other/app/web"]) {
    t.equal(ttl(name, "edge-1"), 3, "two stars are any repository");
    t.equal(ttl(name, "nightly"), 4, "and so is none");
    t.equal(ttl(name, "edge"), 60_000);
  }
  t.equal(ttl("solo", "any"), 5);
  t.equal(ttl("other/solo", "any"), 60_000);
  t.equal(ttl("team/app", "latest"), 1, "the same when asked again");
});

t.test("signature tags are always asked for, whatever the rules say", async (t) => {
  const { ttl } = bound(freshness({ rules: [{ match: "**", ttl: 5 }] }));
  const hex = "0123456789abcdef".repeat(4);
  for (const tag of [`sha256-${hex}`, `sha256-${hex}.sig`, `sha256-${hex}.att`, `sha512-${hex}${hex}.sbom`])
    t.equal(ttl("team/app", tag), 0, tag);
  for (const tag of [
    `sha256-${hex.slice(1)}`,
    `x-sha256-${hex}`,
    `sha384-${hex}`,
    `sha256-${hex}.sig.old`,
    `sha256-${hex}-x`,
    `sha256-${hex.toUpperCase()}`,
    `sha512-${hex}${hex}0`,
  ])
    t.equal(ttl("team/app", tag), 5, tag);
});

function bound(of: Freshness) {
  return {
    state: of.state.bind(of),
    ttl: (repository: string, tag: string) => of.ttl({ upstream: "up", repository: repo(repository) }, tag),
  };
}

t.test("what is never confirmed is served whatever its age", async (t) => {
  const options = { ttl: 60_000, rules: [], staleIfError: 1_000, staleWhileRevalidate: 0 };
  const rules = new Freshness(options, new Map([["hub", { rules: [], offline: true }]]));
  t.equal(rules.state(hub, record(59_999), 60_000, now), "fresh");
  t.equal(rules.state(hub, record(1e12), 60_000, now), "stale");
  t.equal(rules.state({ upstream: "other" }, record(1e12), 60_000, now), "expired");
});
