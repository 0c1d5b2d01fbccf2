import t from "tap";
import { explainView } from "../../../src/ops/page/explain-view.ts";
import { toHtml } from "../../../src/ops/page/html.ts";
import { fullExplanation } from "../../fixtures/stats-samples.ts";

t.test("what buttons and commands act on is what was explained, also where no tag was typed", (t) => {
  const digest = `sha256:${"a".repeat(64)}`;
  for (const [asked, reference, named] of [
    ["team/app", "latest", "team/app:latest"],
    [" hub.example.com:5000/team/app ", "latest", "hub.example.com:5000/team/app:latest"],
    ["team/latest", "latest", "team/latest:latest"],
    ["team/app:1.0", "1.0", "team/app:1.0"],
    [`team/app@${digest}`, digest, `team/app@${digest}`],
    [`team/app:1.0@${digest}`, digest, `team/app:1.0@${digest}`],
  ] as const) {
    const explanation = { ...fullExplanation("x"), reference } as ReturnType<typeof fullExplanation>;
    const html = toHtml(explainView(asked, explanation));
    const buttons = [...html.matchAll(/data-reference="([^"]*)"/g)].map(([, each]) => each);
    t.strictSame(buttons, Array(5).fill(named));
    t.match(html, `<code>entrepot purge ${named}</code>`);
  }
  t.end();
});
