import t from "tap";
import { toHtml } from "../../../src/ops/page/html.ts";
import { savingsView } from "../../../src/ops/page/savings-view.ts";
import { savingsDocument } from "../../../src/telemetry/savings/report.ts";
import { sampleDocument, sampleSavings } from "../../fixtures/stats-samples.ts";

t.test("a row for each team and one for all, with money where there are prices", (t) => {
  const html = toHtml(savingsView(sampleDocument()));
  t.match(html, /Saved in 2026-11 \(UTC\)/);
  const cells = [...html.matchAll(/<tr>(<td.*?)<\/tr>/g)].map(([, row = ""]) =>
    row.replaceAll(/<[^>]*>/g, "|"),
  );
  t.equal(cells.length, 3);
  t.match(cells[0], /payments.*4\.00 GB.*1\.00 EUR/);
  t.match(cells[1], /other.*−2\.00 MB.*-0\.00 EUR/);
  t.match(cells[2], /all.*12.*1\.00 EUR/);
  t.end();
});

t.test("no more than ten teams, and how many there are besides", (t) => {
  const [row] = sampleSavings;
  const many = Array.from(
    { length: 25 },
    (_, at) => ({ ...row, team: `team-${at}` }) as (typeof sampleSavings)[0],
  );
  const savings = () => savingsDocument("2026-11", many, undefined);
  const html = toHtml(savingsView(sampleDocument(undefined, { savings })));
  t.equal([...html.matchAll(/<td>team-/g)].length, 10);
  t.match(html, /15 more: entrepot savings/);
  t.end();
});

t.test("a month without requests", (t) => {
  const savings = () => savingsDocument("2026-11", [], "EUR");
  t.match(
    toHtml(savingsView(sampleDocument(undefined, { savings }))),
    /Nothing was asked for yet this month/,
  );
  t.end();
});
