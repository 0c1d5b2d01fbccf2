// The stats page in a real Chromium, in front of the real program. Pictures go to ENTREPOT_SCREENSHOTS when it is set.
import { mkdir } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import type { Page } from "playwright-core";
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { gate } from "../fixtures/manual-time.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { browserProgram, startBrowser, visit } from "./fixtures/browser.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";

t.setTimeout(120_000);

const image = makeImage({ layers: [1_000_000, 3_000_000] });
const slow = makeImage({ layers: [2_000_000], seed: "slow" });
const [slowLayer] = slow.layers as [(typeof slow.layers)[0]];
const attack = "<img/src=x/onerror=document.title='taken'>";

/** Waits for a condition in the page, which need not say when it comes true. */
async function shows(page: Page, selector: string, text: RegExp): Promise<void> {
  await page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: 15_000 });
}

async function isLive(page: Page): Promise<void> {
  await shows(page, "#connection", /^live$/);
  await page.locator("#chart-bandwidth canvas").waitFor();
}

t.test("the stats page", async (t) => {
  if (!requires(t, browserProgram)) return;
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", image);
  upstream.addImage("team/slow", "1.0", slow);
  const url = upstream.url.href.replace(/\/$/, "");
  const mirror = await startMirror(t, { url, username: upstream.username, password: upstream.password });
  const page_ = `http://${mirror.ops}/`;
  const browser = await startBrowser(t);
  const pictures = process.env.ENTREPOT_SCREENSHOTS ?? t.testdir();
  await mkdir(pictures, { recursive: true });
  const picture = async (page: Page, name: string): Promise<void> => {
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  };
  const pull = async (): Promise<void> => {
    await (await fetch(`${mirror.url}/v2/team/app/manifests/1.0`)).arrayBuffer();
    for (const { digest } of image.layers)
      await (await fetch(mirror.blobUrl(digest, "team/app"))).arrayBuffer();
  };

  await t.test("one page and its own files, light enough", async (t) => {
    const { page, troubles, asked } = await visit(browser, page_);
    const session = await page.context().newCDPSession(page);
    let weight = 0;
    session.on("Network.loadingFinished", ({ encodedDataLength }) => {
      weight += encodedDataLength;
    });
    await session.send("Network.enable");
    await session.send("Network.setCacheDisabled", { cacheDisabled: true });
    await page.reload();
    await isLive(page);
    const once = asked.slice(asked.length / 2);
    t.equal(once[0], "/");
    for (const path of once) t.match(path, /^\/(?:page\/.*|stats\/events)?$/);
    t.ok(weight > 20_000 && weight < 100_000, `${weight} bytes`);
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test("what happens is seen without loading the page again", async (t) => {
    const { page, troubles, asked } = await visit(browser, page_);
    await isLive(page);
    const pages = asked.filter((path) => path === "/").length;
    await pull();
    await shows(page, "#repositories", /team\/app/);
    await shows(page, "#traffic", /Saved in 24 h\s*0 B/);
    await pull();
    await shows(page, "#traffic", /Saved in 24 h\s*4\.00 MB/);
    t.equal(asked.filter((path) => path === "/").length, pages);
    t.equal(asked.filter((path) => path === "/stats/events").length, 1, "over one stream");
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test("a download under way, with its bar, until it is done", async (t) => {
    const { page, troubles } = await visit(browser, page_);
    await isLive(page);
    const release = gate();
    const heal = upstream.fault(({ reference }) =>
      reference === slowLayer.digest ? { stallAfter: 1_000_000, releaseOn: release.opened } : undefined,
    );
    const client = fetch(mirror.blobUrl(slowLayer.digest, "team/slow")).then((answer) =>
      answer.arrayBuffer(),
    );
    await shows(page, "#fills", /team\/slow.*1\.00 MB of 2\.00 MB.*1 client/s);
    t.equal(await page.locator("#fills progress").getAttribute("value"), "0.5000");
    await picture(page, "download");
    release.open();
    heal();
    t.equal((await client).byteLength, 2_000_000);
    await shows(page, "#fills", /None\./);
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test("a name that is markup stays a name", async (t) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { hostname, port } = new URL(mirror.url);
    const headers = { "user-agent": attack };
    request({ hostname, port, path: `/v2/${attack}/manifests/1`, headers, agent: false }, (answer) =>
      answer.resume().on("end", resolve),
    ).end();
    await promise;
    const { page, troubles } = await visit(browser, `${page_}?explain=${encodeURIComponent(attack)}`);
    await isLive(page);
    await shows(page, "#live", /<img\/src=x\/onerror=/);
    t.equal(await page.locator("img").count(), 0);
    t.equal(await page.title(), "entrepot");
    t.equal(await page.locator("#explain-reference").inputValue(), attack);
    await page.locator("#explain-reference").press("Enter");
    await shows(page, "#explanation", /expected \[upstream\/\]repository:tag/);
    t.equal(await page.locator("img").count(), 0);
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test("by keyboard alone: the charts' range, and what is known of an image", async (t) => {
    const { page, troubles, asked } = await visit(browser, page_);
    await isLive(page);
    await page.keyboard.press("Tab");
    t.equal(await page.evaluate("document.activeElement.value"), "hour");
    await page.keyboard.press("ArrowLeft");
    t.equal(await page.evaluate("document.activeElement.value"), "minute");
    for (let tabs = 0; tabs < 30; tabs++) {
      await page.keyboard.press("Tab");
      if ((await page.evaluate("document.activeElement.id")) === "explain-reference") break;
    }
    await page.keyboard.type("team/app:1.0");
    await page.keyboard.press("Enter");
    await shows(page, "#explanation", /team\/app:1\.0 from upstream: 3 of 4 parts here/);
    const shown = await page.locator("#verdict time").getAttribute("datetime");
    await page.locator(`#verdict time:not([datetime="${shown}"])`).waitFor();
    t.equal(
      await page.evaluate("document.activeElement.id"),
      "explain-reference",
      "updates of the page leave the focus where it is",
    );
    t.equal(asked.filter((path) => path === "/").length, 1, "in place");
    t.ok(asked.includes("/explain.json"));
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test("light, dark, and on a phone without scrolling sideways", async (t) => {
    const reference = `${page_}?explain=team/app:1.0`;
    const wide = { width: 1200, height: 800 };
    const cases = [
      ["light", { viewport: wide, colorScheme: "light" }],
      ["dark", { viewport: wide, colorScheme: "dark" }],
      ["phone", { viewport: { width: 360, height: 740 } }],
    ] as const;
    const grounds: unknown[] = [];
    for (const [name, options] of cases) {
      const { page, troubles } = await visit(browser, reference, options);
      await isLive(page);
      await page.locator("#range").getByText("1 min").click();
      const width = await page.evaluate("document.documentElement.scrollWidth");
      t.ok((width as number) <= options.viewport.width, `${name}: ${width} px`);
      grounds.push(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
      await picture(page, name);
      t.strictSame(troubles, [], name);
      await page.context().close();
    }
    t.not(grounds[0], grounds[1], "dark is not light");
  });

  await t.test("without a script: the numbers, and the box", async (t) => {
    const { page, troubles } = await visit(browser, page_, { javaScriptEnabled: false });
    await shows(page, "#traffic", /Saved in 24 h\s*4\.00 MB/);
    await shows(page, "#verdict", /All is well|Degraded/);
    t.equal(await page.locator("canvas").count(), 0);
    t.equal(await page.locator(".chart:visible").count(), 0, "no empty frames");
    await page.locator("#explain-reference").fill("team/app:1.0");
    await page.getByRole("button", { name: "Explain" }).click();
    await shows(page, "#explanation", /3 of 4 parts here/);
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test("a node that goes away is told", async (t) => {
    const { page } = await visit(browser, page_);
    await isLive(page);
    await mirror.stop();
    await shows(page, "#connection", /connection lost/);
    t.equal(await page.locator("#connection").getAttribute("class"), "lost");
    await page.context().close();
  });
});
