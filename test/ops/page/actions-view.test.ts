import t from "tap";
import {
  actionsView,
  pinnedView,
  purgedView,
  purgeView,
  refreshedView,
  unpinnedView,
} from "../../../src/ops/page/actions-view.ts";
import { toHtml } from "../../../src/ops/page/html.ts";
import type { PinReport } from "../../../src/ops/pins/pin-report.ts";
import type { PurgeReport, RefreshedNode, RefreshReport } from "../../../src/ops/purge/purge-report.ts";

const attack = `<img src=x onerror="alert(1)">`;
const text = (node: Parameters<typeof toHtml>[0]) => toHtml(node).replaceAll(/<[^>]*>/g, "");

t.test("buttons for what was asked, and the commands where there is no script", (t) => {
  const html = toHtml(actionsView(`team/${attack}`));
  t.notMatch(html, /<img/);
  const buttons = [...html.matchAll(/data-action="(\w+)" data-reference="team\/&lt;img/g)];
  t.strictSame(
    buttons.map(([, name]) => name),
    ["warm", "refresh", "pin", "unpin", "purge"],
  );
  t.match(text(actionsView("team/app:1")), /entrepot warm team\/app:1 .*entrepot unpin team\/app:1 /);
  t.end();
});

t.test("what has come of a pin, and of its end", (t) => {
  const report: PinReport = {
    ...{ image: "hub/team/app:1", upstream: "hub", repository: "team/app", reference: "1" },
    ...{ origin: "command", pinnedAt: 1000, state: "whole", digest: "sha256:1" },
    ...{ parts: 3, sizeBytes: 4_000_000, hereBytes: 1_000_000, reason: null },
  };
  const said = (changes: Partial<PinReport>) => text(pinnedView("app", { ...report, ...changes }));
  t.equal(said({}), "● pinned: app, as hub/team/app:1 (3 parts, 4.00 MB): all of it is here");
  t.match(said({ state: "incomplete" }), "○ pinned: app");
  t.match(said({ state: "incomplete" }), "1.00 MB of 4.00 MB is here, the rest is to be fetched");
  t.match(
    said({ state: "over_budget", reason: "by the test" }),
    /^✖ not pinned: .*does not fit .*: by the test$/,
  );
  t.match(said({ state: "too_large" }), /^✖ not pinned: app/);
  t.match(said({ state: "unknown", parts: 0 }), "as hub/team/app:1: what it is made of is not known yet");
  const ended = { image: "hub/team/app:1", stillConfigured: false };
  t.equal(text(unpinnedView("app", ended)), "● not pinned any more: app, as hub/team/app:1");
  t.match(text(unpinnedView("app", { ...ended, stillConfigured: true })), /^▲ still pinned: .*pin\.images/);
  t.notMatch(toHtml(pinnedView(attack, { ...report, reason: attack })), /<img/);
  t.end();
});

function purge(changes: Partial<PurgeReport> = {}): PurgeReport {
  return {
    ...{ schema: 1, id: null, at: 1000, kind: "tag", upstream: "hub", repository: "team/app", tag: "1" },
    ...{ digest: "sha256:1", chosenBy: "x", truncated: false, pinnedBy: [], s3: false, stays: [] },
    tags: [{ upstream: "hub", repository: "team/app", tag: "1", digest: "sha256:1" }],
    goes: [{ digest: "sha256:2", role: "layer", sizeBytes: 3_000_000, here: true }],
    sums: { tags: 1, images: 1, layers: 2, bytes: 4_000_000, staysParts: 1, staysBytes: 500 },
    nodes: [{ name: "a", self: true, state: "planned", parts: 3, bytes: 4_000_000 }],
    ...changes,
  };
}

t.test("what a purge would delete is listed before anybody can say yes", (t) => {
  const report = purge({
    s3: true,
    truncated: true,
    nodes: [...purge().nodes, { ...other("b"), state: "planned" }],
  });
  const shown = text(purgeView("team/app:1", report));
  t.match(shown, "1 tag, 1 manifest and 2 blobs go: 4.00 MB on this node");
  t.match(shown, ", and the same at node b, S3; 1 part that others use (500 B) stays.");
  t.match(shown, "hub/team/app:1");
  t.match(shown, "layer sha256:2, 3.00 MB");
  t.match(shown, "There is more than is looked at");
  t.match(shown, /KeepPurge$/);
  t.match(shown, /^Purge the tag team\/app:1\?/);
  t.match(text(purgeView("a@b", purge({ kind: "image", tag: null }))), /^Purge the image a@b\?/);
  t.match(text(purgeView("a", purge({ kind: "repository", tag: null }))), /^Purge the whole repository a\?/);
  t.match(
    text(purgeView("sha256:1", purge({ kind: "image", tag: null, upstream: null }))),
    /^Purge the image sha256:1 in all repositories\?/,
  );
  t.match(toHtml(purgeView("x", report)), /<button value="" autofocus>Keep</, "no is what Enter says");
  const pinned = text(purgeView("x", purge({ pinnedBy: ["hub/team/web:2"] })));
  t.match(pinned, /pinned images need some of it \(hub\/team\/web:2\): entrepot purge --force/);
  t.match(pinned, /Keep$/, "and there is no yes");
  t.notMatch(toHtml(purgeView(attack, purge({ pinnedBy: [attack] }))), /<img/);
  t.end();
});

function other(name: string): PurgeReport["nodes"][number] {
  return { name, self: false, state: "away", parts: null, bytes: null };
}

t.test("what each node has purged", (t) => {
  const done = { name: "a", self: true, state: "done", parts: 3, bytes: 4_000_000 } as const;
  t.equal(text(purgedView("x", purge({ nodes: [done] }))), "● purged: x: 3 parts, 4.00 MB");
  t.equal(
    text(purgedView("x", purge({ nodes: [done, other("b")] }))),
    "▲ not purged everywhere yet: x: 3 parts, 4.00 MB; b: does not answer, and does the same when it is back",
  );
  t.end();
});

t.test("what each node has refreshed", (t) => {
  const node = (name: string, changes: Partial<RefreshedNode>): RefreshedNode => ({
    ...{ name, self: name === "a", state: "unchanged", was: null, is: null },
    ...{ checked: 0, wrong: 0, bytes: 0, problem: null, ...changes },
  });
  const said = (...nodes: RefreshedNode[]) => {
    const scope = { upstream: "hub", repository: "team/app", reference: "1", chosenBy: "x" };
    const report: RefreshReport = { schema: 1, at: 1000, ...scope, nodes };
    return text(refreshedView("x", report));
  };
  t.equal(
    said(node("a", {}), node("b", { state: "moved" })),
    "● refreshed: x: a: unchanged; b: the tag had moved",
  );
  t.equal(
    said(node("a", { state: "fetched", wrong: 2 }), node("b", { state: "away" })),
    "▲ not refreshed everywhere: x: a: fetched again, 2 parts missing or wrong; b: does not answer",
  );
  t.equal(
    said(node("a", { state: "failed", problem: "upstream hub does not answer" })),
    "✖ not refreshed: x: a: failed: upstream hub does not answer",
  );
  t.equal(
    said(node("a", { state: "gone" })),
    "✖ not refreshed: x: a: upstream does not have it or refuses it",
  );
  t.equal(
    said(node("a", {}), node("b", { state: "running" })),
    "○ not done yet: x: a: unchanged; b: it goes on",
  );
  t.end();
});
