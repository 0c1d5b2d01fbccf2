import t from "tap";
import { configOf, problemsOf, upstreamUrl } from "../fixtures/loading.ts";

t.test("where the page leads to, and how it names the mirror", (t) => {
  const yaml =
    "opsPage: {mirror: https://mirror.example.com, grafana: https://grafana.example.com/d/a?orgId=1}\n";
  t.same(configOf({ yaml, env: upstreamUrl }).opsPage, {
    mirror: "https://mirror.example.com/",
    grafana: "https://grafana.example.com/d/a?orgId=1",
  });
  t.end();
});

t.test("nothing that a browser would run or send a password to", (t) => {
  for (const url of ["javascript:alert(1)", "https://ann:hunter2@grafana.example.com", "grafana.example.com"])
    t.match(problemsOf({ yaml: `opsPage: {grafana: "${url}"}`, env: upstreamUrl }), [
      /an http or https URL without credentials/,
    ]);
  t.end();
});
