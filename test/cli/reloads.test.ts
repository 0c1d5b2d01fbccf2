import { setImmediate as turn } from "node:timers/promises";
import t from "tap";
import type { ReadAgain } from "../../src/app.ts";
import { Reloads } from "../../src/cli/reloads.ts";
import { loadConfig } from "../../src/config/load.ts";
import { loadedFrom } from "../fixtures/loading.ts";
import { scriptedApp } from "../fixtures/scripted-app.ts";

const yaml = (rest: string): string => `upstream: {url: https://registry.example.com}\n${rest}\n`;

/** Reads `file.text` at every signal; `heard` is what the app was given. */
function reloading(text: string, answer: (read: ReadAgain) => boolean = () => true) {
  const file = { path: "mirror.yaml", text, loads: 0 };
  const heard: ReadAgain[] = [];
  const { app } = scriptedApp({
    reload: (read) => {
      heard.push(read);
      return answer(read);
    },
  });
  const reloads = new Reloads(loadedFrom({ yaml: text }), () => {
    file.loads++;
    return loadConfig({ file, env: {}, readFile: () => "" });
  });
  return { app, file, heard, reloads };
}

/** Texts of what has changed; the problems of what could not be read. */
const told = (read: ReadAgain | undefined): unknown =>
  read?.ok === false
    ? read.problems.map(({ key, position }) => [key, position?.line, position?.column])
    : read?.changes.applied.map(({ text }) => text);

t.test("the app gets what is read again, with what it changes", async (t) => {
  const { app, file, heard, reloads } = reloading(yaml(""));
  reloads.attach(app);
  file.text = yaml("tags: {ttl: 5m}");
  reloads.request();
  await turn();
  t.same(told(heard[0]), ["tags.ttl: 1m -> 5m"]);
  t.equal(reloads.config.tags.ttl, 300_000);
  reloads.request();
  await turn();
  t.same(told(heard[1]), [], "compared with what is in use now");
});

t.test("a file with problems: the app is told, with their places, and the one before stays", async (t) => {
  const { app, file, heard, reloads } = reloading(yaml("tags: {ttl: 5m}"));
  reloads.attach(app);
  file.text = yaml("tags: {ttl: soon}");
  reloads.request();
  await turn();
  t.same(told(heard[0]), [["tags.ttl", 2, 13]]);
  t.equal(reloads.config.tags.ttl, 300_000);
  file.text = yaml("tags: {ttl: 6m}");
  reloads.request();
  await turn();
  t.same(told(heard[1]), ["tags.ttl: 5m -> 6m"]);
});

t.test("what the app does not take does not count", async (t) => {
  const { app, file, heard, reloads } = reloading(yaml(""), () => false);
  reloads.attach(app);
  file.text = yaml("tags: {ttl: 5m}");
  for (const _ of [1, 2]) {
    reloads.request();
    await turn();
  }
  t.same(heard.map(told), [["tags.ttl: 1m -> 5m"], ["tags.ttl: 1m -> 5m"]]);
  t.equal(reloads.config.tags.ttl, 60_000);
});

t.test(
  "signals that come together are one; those before the start wait, those after the end are nothing",
  async (t) => {
    const { app, file, heard, reloads } = reloading(yaml(""));
    reloads.request();
    await turn();
    t.equal(file.loads, 0, "not read before the app runs");
    reloads.attach(app);
    for (let i = 0; i < 5; i++) reloads.request();
    await turn();
    t.equal(heard.length, 1);
    reloads.request();
    reloads.detach();
    await turn();
    t.equal(file.loads, 1);
  },
);

t.test("a signal while one is taken over is done after it", async (t) => {
  const { app, file, heard, reloads } = reloading(yaml(""), () => {
    if (heard.length === 1) for (let i = 0; i < 5; i++) reloads.request();
    return true;
  });
  reloads.attach(app);
  reloads.request();
  await turn();
  await turn();
  await turn();
  t.equal(heard.length, 2);
  t.equal(file.loads, 2);
});
