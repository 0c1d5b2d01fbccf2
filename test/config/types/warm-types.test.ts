import t from "tap";
import { parseCron, parseWarmImage } from "../../../src/config/types/warm-types.ts";
import { problemsOf } from "../../fixtures/loading.ts";

t.test("images, and patterns over the tags of one repository", async (t) => {
  for (const text of ["team/app:1.0", "team/app", "registry.example.com:8443/a/b:1.*", "team/app:{1,2}.*"])
    t.same(parseWarmImage(` ${text} `), { value: text });
  for (const text of ["", "team/*:1", "TEAM/app:1", "team/app:", "team/app:[1", `a:${"x".repeat(600)}*`])
    t.match(parseWarmImage(text), { expected: /./ }, text);
});

t.test("times by cron", async (t) => {
  for (const text of ["0 5 * * 1-5", "*/15 * * * *", "30 0 5 * * MON"])
    t.same(parseCron(text), { value: text });
  for (const text of ["", "@daily", "5", "61 * * * *", "* * * *", "2026-01-01T00:00:00"])
    t.match(parseCron(text), { expected: /times by cron/ }, text);
});

t.test("problems are told with their place", async (t) => {
  const yaml =
    "upstream: { url: https://registry.example.com }\nwarm: [{ images: [], at: daily, platforms: [amd64], bandwidth: 1KB }, {}]";
  const problems = problemsOf({ yaml }).join("\n");
  for (const text of [
    /warm\[0\]\.images/,
    /warm\[0\]\.at/,
    /warm\[0\]\.platforms/,
    /warm\[0\]\.bandwidth/,
    /warm\[1\]/,
  ])
    t.match(problems, text);
});
