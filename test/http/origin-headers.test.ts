import t from "tap";
import { cacheStatus, type Served } from "../../src/http/origin-headers.ts";
import { cpuTime } from "../fixtures/cpu-time.ts";

const upstream = "upstream:corp" as const;

t.test("what this mirror says of itself", async (t) => {
  const members: [Served, string | undefined][] = [
    [{ result: "hit", source: "disk" }, "entrepot; hit; detail=disk"],
    [{ result: "hit", source: "memory", freshFor: 47_999 }, "entrepot; hit; ttl=47; detail=memory"],
    [{ result: "hit", source: "disk", freshFor: Number.POSITIVE_INFINITY }, "entrepot; hit; detail=disk"],
    [
      { result: "stale", source: "disk", freshFor: -312_000, reason: { code: "timeout" } },
      "entrepot; hit; ttl=-312; detail=timeout",
    ],
    [{ result: "stale", source: "memory", freshFor: -1 }, "entrepot; hit; ttl=-1"],
    [{ result: "miss", source: upstream }, "entrepot; fwd=uri-miss"],
    [{ result: "miss", source: upstream, outdated: true }, "entrepot; fwd=stale"],
    [{ result: "joined", source: upstream }, "entrepot; fwd=uri-miss; collapsed"],
    [{ result: "joined", source: "disk", outdated: true }, "entrepot; fwd=stale; collapsed"],
    [
      { result: "revalidated", source: "disk", outdated: true },
      "entrepot; fwd=stale; fwd-status=200; detail=unchanged",
    ],
    [{ result: "pass", source: upstream }, "entrepot; fwd=uri-miss; stored=?0"],
    [{ result: "pass", source: upstream, written: true }, "entrepot; fwd=method"],
    [{ result: "negative", source: "none" }, undefined],
    [{ result: "denied", source: "none" }, undefined],
    [{ result: "error", source: "none" }, undefined],
    [{ result: "aborted", source: "none" }, undefined],
  ];
  for (const [served, said] of members) t.equal(cacheStatus(served), said, String(said));
});

t.test("what other caches said goes first, as it is", async (t) => {
  for (const said of [
    "entrepot; hit",
    "origin; hit; ttl=1100; collapsed",
    '"CDN Company Here"; fwd=uri-miss; stored, entrepot; fwd=stale; fwd-status=304',
    'a;key="\\"x\\\\y\\" ,;";n=-12.345;b=?0;h=:aGk=:;d=a/b:c , b;*x.y_z-1',
    "*star",
    `${"x".repeat(1024)}`,
  ])
    t.equal(
      cacheStatus({ result: "miss", source: upstream, cacheStatus: said }),
      `${said}, entrepot; fwd=uri-miss`,
    );
  t.equal(
    cacheStatus({ result: "joined", source: upstream, cacheStatus: " a; hit " }),
    "a; hit, entrepot; fwd=uri-miss; collapsed",
  );
});

t.test("what is no list of caches is left out: it would take our own member along", async (t) => {
  for (const said of [
    "",
    ",",
    "a,",
    ",a",
    "a,,b",
    "HIT from proxy",
    "a; hit=",
    "a; Hit",
    "a ;hit",
    'a; detail="open',
    'a; detail="back\\slash"',
    "a; ttl=1.2345",
    "a; ttl=1234567890123456",
    "(a b); hit",
    "1; hit",
    "a; x=?2",
    "a\t, b",
    "a\r\nset-cookie: x",
    "é",
    "x".repeat(1025),
  ])
    t.equal(
      cacheStatus({ result: "miss", source: upstream, cacheStatus: said }),
      "entrepot; fwd=uri-miss",
      said,
    );
});

t.test("reading what others said takes no longer than it is long", async (t) => {
  for (const piece of ['"', "a;", "a; ", '"\\', "a,", "a , ", "a=1;", ":a"]) {
    const said = `a; x=${piece.repeat(1024)}`.slice(0, 1023);
    const spent = cpuTime(() => {
      for (let round = 0; round < 50; round++)
        cacheStatus({ result: "miss", source: upstream, cacheStatus: `${said}!` });
    });
    t.ok(spent < 1_000, `${piece}: ${spent} ms of processor time`);
  }
});
