import t from "tap";
import { actionsView, pinnedView, unpinnedView } from "../../../src/ops/page/actions-view.ts";
import { toHtml } from "../../../src/ops/page/html.ts";
import type { PinReport } from "../../../src/ops/pins/pin-report.ts";

const attack = `<img src=x onerror="alert(1)">`;
const text = (node: Parameters<typeof toHtml>[0]) => toHtml(node).replaceAll(/<[^>]*>/g, "");

t.test("buttons for what was asked, and the commands where there is no script", (t) => {
  const html = toHtml(actionsView(`team/${attack}`));
  t.notMatch(html, /<img/);
  const buttons = [...html.matchAll(/data-action="(\w+)" data-reference="team\/&lt;img/g)];
  t.strictSame(
    buttons.map(([, name]) => name),
    ["warm", "pin", "unpin"],
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
  t.match(said({ state: "over_budget", reason: "by the test" }), /^✖ .*does not fit .*: by the test$/);
  t.match(said({ state: "unknown", parts: 0 }), "as hub/team/app:1: what it is made of is not known yet");
  const ended = { image: "hub/team/app:1", stillConfigured: false };
  t.equal(text(unpinnedView("app", ended)), "● not pinned any more: app, as hub/team/app:1");
  t.match(text(unpinnedView("app", { ...ended, stillConfigured: true })), /^▲ still pinned: .*pin\.images/);
  t.notMatch(toHtml(pinnedView(attack, { ...report, reason: attack })), /<img/);
  t.end();
});
