import t from "tap";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import { isBefore, type Purge, readPurge, timeOfId, writePurge } from "../../../src/ports/purge/purges.ts";
import { digestOf } from "../../fixtures/images.ts";

const digest = digestOf(Buffer.from("a"));
const id = "1700000000000-0123456789ab";
const purge: Purge = {
  id,
  at: 1_700_000_000_000,
  scope: { upstream: "hub", repository: "team/app" as Repository },
  tag: "1.0" as Tag,
  digest,
  parts: [digest],
};
const idOf = (name: string) => (name === "hub" ? "hub@1" : undefined);
const nameOf = (id: string) => (id === "hub@1" ? "hub" : undefined);

t.test("a purge is read as it was written, also by a node that calls the upstream otherwise", async (t) => {
  const forms: readonly Purge[] = [
    purge,
    { ...purge, digest: undefined, parts: [] },
    { ...purge, tag: undefined },
    { ...purge, tag: undefined, digest: undefined },
    { ...purge, scope: undefined, tag: undefined },
  ];
  for (const form of forms) t.strictSame(readPurge(writePurge(form, idOf) ?? "", nameOf), form);
  t.match(
    readPurge(writePurge(purge, idOf) ?? "", () => "far"),
    { scope: { upstream: "far" } },
  );
  t.equal(
    writePurge(purge, () => undefined),
    undefined,
  );
});

t.test("what is no purge, or of an upstream that is not known, is not read", async (t) => {
  const wire = JSON.parse(writePurge(purge, idOf) ?? "") as object;
  const wrong: readonly [string, object][] = [
    ["another time than in its id", { ...wire, at: 1 }],
    ["an id that is none", { ...wire, id: "x" }],
    ["another upstream", { ...wire, upstream: "hub@2" }],
    ["no repository", { ...wire, repository: "" }],
    ["no tag", { ...wire, tag: "a b" }],
    ["no digest", { ...wire, digest: "sha256:1" }],
    ["a tag of nothing", { id, at: purge.at, tag: "1.0", parts: [] }],
    ["nothing at all", { id, at: purge.at, parts: [] }],
    ["too many parts", { ...wire, parts: Array(501).fill(digest) }],
  ];
  for (const [what, value] of wrong) t.equal(readPurge(JSON.stringify(value), nameOf), undefined, what);
  for (const text of ["", "null", "[]", "x".repeat(100_000)]) t.equal(readPurge(text, nameOf), undefined);
});

t.test("what came so shortly after it that clocks may be wrong counts as before it", async (t) => {
  t.equal(timeOfId(id), purge.at);
  t.equal(timeOfId("1-0123456789ab"), undefined);
  t.equal(isBefore(purge, purge.at + 10_000), true);
  t.equal(isBefore(purge, purge.at + 10_001), false);
});
