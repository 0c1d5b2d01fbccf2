// The stats page in a real Chromium, in front of the real program. Pictures go to ENTREPOT_SCREENSHOTS when it is set.
import { mkdir, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { gate } from "../fixtures/manual-time.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { barriers } from "./fixtures/accessibility.ts";
import { browserProgram, startBrowser, visit } from "./fixtures/browser.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";

t.setTimeout(120_000);

const image = makeImage({ layers: [1_000_000, 3_000_000] });
const slow = makeImage({ layers: [2_000_000], seed: "slow" });
const [slowLayer] = slow.layers as [(typeof slow.layers)[0]];
const fresh = makeImage({ layers: [5_000], seed: "fresh" });
const held = makeImage({ layers: [100], seed: "held" });
const [heldLayer] = held.layers as [(typeof held.layers)[0]];
const long = makeImage({ layers: [1000], seed: "long" });
const [longLayer] = long.layers as [(typeof long.layers)[0]];
/** As long as the distribution-spec allows, without a place to break it. */
const longName = `team/${"a".repeat(195)}`;
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
  upstream.addImage("team/new", "1.0", fresh);
  upstream.addImage("team/held", "1.0", held);
  upstream.addImage(longName, "1.0", long);
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
    await shows(page, "#clients", /docker pull .*registry-mirrors.*hosts\.toml.*registries\.conf/s);
    await page.evaluate("document.querySelector('.copy').click()");
    await shows(page, "#clients .copy", /Copied/);
    t.strictSame(await barriers(page), [], "empty");
    await picture(page, "empty");
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
    await shows(page, "#fills", /stalled for/);
    t.strictSame(await barriers(page), [], "a download that has stalled");
    await picture(page, "stalled");
    release.open();
    heal();
    t.equal((await client).byteLength, 2_000_000);
    await shows(page, "#fills", /None\./);
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test("a name that is markup stays a name", async (t) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { hostname: host, port } = new URL(mirror.url);
    const headers = { "user-agent": attack };
    request({ host, port, path: `/v2/${attack}/manifests/1`, headers, agent: false }, (answer) =>
      answer.resume().on("end", resolve),
    ).end();
    await promise;
    const { page, troubles } = await visit(browser, `${page_}?explain=${encodeURIComponent(attack)}`);
    await isLive(page);
    await shows(page, "#live", /<img\/src=x\/onerror=/);
    t.equal(await page.locator("img").count(), 0);
    t.equal(await page.title(), `${hostname()} – entrepot`);
    t.equal(await page.locator("#explain-reference").inputValue(), attack);
    await page.locator("#explain-reference").press("Enter");
    await shows(page, "#explanation", /expected \[upstream\/\]repository:tag/);
    t.equal(await page.locator("img").count(), 0);
    // Browsers write every refusal of this kind into the console.
    const refused = "Failed to load resource: the server responded with a status of 400 (Bad Request)";
    t.strictSame(new Set(troubles), new Set([refused]));
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
    t.ok(asked.includes("/api/v1/why"));
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test(
    "by a button and by keyboard alone an image is fetched, and what failed is said",
    async (t) => {
      const { page, troubles } = await visit(
        browser,
        `${page_}?explain=${encodeURIComponent("team/new:1.0")}`,
      );
      await isLive(page);
      await shows(page, "#explanation", /Nothing of it is known here/);
      const button = page.getByRole("button", { name: "Fetch", exact: true });
      await button.focus();
      await page.keyboard.press("Enter");
      await shows(page, "#outcome", /all of it is here: team\/new:1\.0: 3 parts.*fetched: job [0-9a-f]{12}/);
      await shows(page, "#explanation", /all of it is here: 3 parts/);
      t.equal(
        await page.evaluate("document.activeElement.textContent"),
        "Fetch",
        "the focus is where it was",
      );
      t.equal(upstream.count({ kind: "blob", reference: fresh.layers[0]?.digest as string }), 1);
      t.strictSame(await barriers(page), []);
      await picture(page, "fetched");
      await page.locator("#outcome a").click();
      await shows(page, "#jobs", /done.*request.*1 of 1/s);
      await page.goBack();
      await page.locator("#explain-reference").fill("team/new:none");
      await page.keyboard.press("Enter");
      await shows(page, "#explanation", /team\/new:none/);
      t.equal(await page.locator("#outcome").textContent(), "", "what was said of another image is gone");
      await button.click();
      await shows(
        page,
        "#outcome",
        /not all of it is here: team\/new:none: upstream upstream does not have it/,
      );
      t.strictSame(troubles, []);
      await page.context().close();
    },
  );

  await t.test("without a tag it is the tag latest that is purged, not the repository", async (t) => {
    const { page, troubles } = await visit(browser, `${page_}?explain=${encodeURIComponent("team/new")}`);
    await isLive(page);
    await page.getByRole("button", { name: "Purge…", exact: true }).click();
    await shows(page, "dialog", /Purge the tag team\/new:latest\?/);
    await page.keyboard.press("Escape");
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test("an image is pinned, and unpinned, and a pin that is none is refused", async (t) => {
    const { page, troubles } = await visit(browser, `${page_}?explain=${encodeURIComponent("team/new:1.0")}`);
    await isLive(page);
    const button = (name: string) => page.getByRole("button", { name, exact: true });
    await button("Pin").focus();
    await page.keyboard.press("Enter");
    await shows(page, "#outcome", /pinned: team\/new:1\.0, as upstream\/team\/new:1\.0/);
    t.strictSame(await barriers(page), []);
    await picture(page, "pinned");
    await button("Unpin").click();
    await shows(page, "#outcome", /not pinned any more: team\/new:1\.0/);
    t.strictSame(troubles, []);
    await button("Unpin").click();
    await shows(page, "#outcome", /refused: .*team\/new:1\.0/);
    t.match(troubles, [/status of 404/]);
    await page.context().close();
  });

  await t.test("an image is asked for anew, and goes once what goes has been seen", async (t) => {
    const { page, troubles } = await visit(browser, `${page_}?explain=${encodeURIComponent("team/new:1.0")}`);
    await isLive(page);
    const button = (name: string) => page.getByRole("button", { name, exact: true });
    await button("Refresh").click();
    await shows(page, "#outcome", /refreshed: team\/new:1\.0: .*: unchanged/);
    await button("Purge…").focus();
    await page.keyboard.press("Enter");
    await shows(
      page,
      "dialog",
      /Purge the tag team\/new:1\.0\?.*1 tag, 1 manifest and 2 blobs go.*upstream\/team\/new:1\.0/s,
    );
    t.equal(await page.evaluate("document.activeElement.textContent"), "Keep", "Enter deletes nothing");
    t.strictSame(await barriers(page), [], "the question");
    await picture(page, "purge");
    await page.setViewportSize({ width: 360, height: 740 });
    const width = (await page.locator("dialog").boundingBox())?.width ?? 0;
    t.ok(width > 200 && width <= 360, `${width} px on a phone`);
    await picture(page, "purge-phone");
    await page.setViewportSize({ width: 1280, height: 720 });
    await page.keyboard.press("Escape");
    await shows(page, "#outcome", /kept: team\/new:1\.0/);
    t.equal(await page.evaluate("document.activeElement.textContent"), "Purge…", "the focus is where it was");
    await shows(page, "#explanation", /all of it is here: 3 parts/);
    await page.keyboard.press("Enter");
    await page.locator("dialog").getByRole("button", { name: "Purge", exact: true }).click();
    await shows(page, "#outcome", /purged: team\/new:1\.0: 3 parts/);
    await shows(page, "#explanation", /Nothing of it is known here/);
    t.equal(await page.locator("dialog").count(), 0);
    t.strictSame(await barriers(page), []);
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test("with a login: who pressed the button is in the log, and a refusal is said", async (t) => {
    const env = { ENTREPOT_OPS_ACCESS_PASSWORD: "hunter22hunter22" };
    const far = { url, username: upstream.username, password: upstream.password };
    const closed = await startMirror(t, far, { env });
    const place = `http://${closed.ops}/?explain=${encodeURIComponent("team/new:1.0")}`;
    const httpCredentials = { username: "anna", password: "hunter22hunter22" };
    const { page, troubles } = await visit(browser, place, { httpCredentials });
    await isLive(page);
    await page.getByRole("button", { name: "Fetch", exact: true }).click();
    await shows(page, "#outcome", /all of it is here/);
    const audited = await closed.process.line((line) =>
      line.includes('"event":"audit"') ? (JSON.parse(line) as object) : undefined,
    );
    t.match(audited, {
      who: "ops:anna",
      method: "POST",
      path: "/api/v1/jobs",
      status: 201,
      about: ["team/new:1.0"],
    });
    await page.route("**/api/v1/jobs", (route) =>
      route.fulfill({ status: 503, json: { error: { code: "unavailable", message: "too many jobs wait" } } }),
    );
    await page.getByRole("button", { name: "Fetch", exact: true }).click();
    await shows(page, "#outcome", /refused: too many jobs wait/);
    t.strictSame(await barriers(page), []);
    await picture(page, "refused");
    t.match(troubles, [/status of 503/]);
    await page.context().close();
    await closed.stop();
  });

  await t.test("light, dark, and on a phone without scrolling sideways", async (t) => {
    const reference = `${page_}?explain=team/app:1.0`;
    const wide = { width: 1200, height: 800 };
    const cases = [
      ["light", { viewport: wide, colorScheme: "light" }],
      ["dark", { viewport: wide, colorScheme: "dark" }],
      ["phone", { viewport: { width: 360, height: 740 } }],
      ["wide", { viewport: { width: 1920, height: 1080 } }],
    ] as const;
    const grounds: unknown[] = [];
    for (const [name, options] of cases) {
      const { page, troubles } = await visit(browser, reference, options);
      await isLive(page);
      await page.locator("#range").getByText("1 min").click();
      const width = await page.evaluate("document.documentElement.scrollWidth");
      t.ok((width as number) <= options.viewport.width, `${name}: ${width} px`);
      grounds.push(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
      const [traffic, store] = await Promise.all(
        ["traffic", "store"].map((id) => page.locator(`#${id}`).boundingBox()),
      );
      t.equal(traffic?.y === store?.y, name === "wide", `${name}: two columns where there is room`);
      t.strictSame(await barriers(page), [], name);
      await picture(page, name);
      t.strictSame(troubles, [], name);
      await page.context().close();
    }
    t.not(grounds[0], grounds[1], "dark is not light");
  });

  await t.test("names of any length leave numbers, clients and requests where they are seen", async (t) => {
    await (await fetch(mirror.blobUrl(longLayer.digest, longName))).arrayBuffer();
    const heal = upstream.fault(({ repository }) => (repository === longName ? { status: 500 } : undefined));
    await (await fetch(`${mirror.url}/v2/${longName}/manifests/2.0`)).arrayBuffer();
    heal();
    for (const width of [1280, 360]) {
      const { page } = await visit(browser, page_, { viewport: { width, height: 800 } });
      await isLive(page);
      await shows(page, "#errors", new RegExp(longName));
      const outside = await page.evaluate<string[]>(`[...document.querySelectorAll(
        "${width === 1280 ? "#errors td, " : ""}#repositories td")].filter((cell) =>
          cell.getBoundingClientRect().right > cell.closest(".scroll").getBoundingClientRect().right + 1
        ).map((cell) => cell.textContent)`);
      t.strictSame(outside, [], `${width} px`);
      await picture(page, `long-names-${width}`);
      await page.context().close();
    }
  });

  await t.test("sorted, filtered, over another range: and the address says so", async (t) => {
    const { page, troubles } = await visit(browser, `${page_}?range=day&filter=team%2Fapp`);
    await isLive(page);
    t.ok(await page.locator("#range input[value=day]").isChecked());
    await page.locator("#repositories").getByText("team/slow").waitFor({ state: "detached" });
    await shows(page, "#repositories", /team\/app/);
    await page.locator("#filter input").fill("");
    await page.locator("#repositories").getByText("team/slow").first().waitFor();
    const sent = page.locator("#repositories .scroll").first();
    for (const order of ["descending", "ascending"]) {
      await sent.getByRole("button", { name: "Sent" }).click();
      await sent.locator(`th[aria-sort=${order}]`).waitFor();
      const names = await sent.locator("td:first-child").allTextContents();
      t.equal(names.at(order === "ascending" ? 0 : -1), longName, order);
    }
    await page.locator("#range").getByText("1 min").click();
    t.equal(new URL(page.url()).search, "?range=minute");
    t.strictSame(await barriers(page), []);
    await picture(page, "sorted");
    t.strictSame(troubles, []);
    await page.context().close();
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
    await shows(page, ".actions", /entrepot warm team\/app:1\.0 fetches all of it/);
    t.equal(await page.locator(".actions button:visible").count(), 0, "a form cannot ask for a change");
    t.strictSame(troubles, []);
    await page.context().close();
  });

  await t.test(
    "while a job is followed other buttons work, and what a proxy says does not end it",
    async (t) => {
      const { page, troubles } = await visit(
        browser,
        `${page_}?explain=${encodeURIComponent("team/held:1.0")}`,
      );
      await isLive(page);
      const button = (name: string) => page.getByRole("button", { name, exact: true });
      const release = gate();
      const heal = upstream.fault(({ reference }) =>
        reference === heldLayer.digest ? { stallAfter: 10, releaseOn: release.opened } : undefined,
      );
      const follows = gate();
      const answers = [
        { status: 502, contentType: "text/html", body: "<h1>Bad Gateway</h1>" },
        { status: 503, json: { error: { code: "unavailable", message: "draining" } } },
      ];
      await page.route("**/api/v1/jobs/*", (route) => {
        const answer = answers.shift();
        if (answer === undefined) follows.open();
        return answer === undefined ? route.continue() : route.fulfill(answer);
      });
      await button("Fetch").click();
      await shows(page, "#outcome", /fetching team\/held:1\.0/);
      await button("Refresh").click();
      await shows(page, "#outcome", /refreshed: team\/held:1\.0/);
      const asked = gate();
      await page.route("**/api/v1/refresh", async (route) => {
        await asked.opened;
        await route.continue();
      });
      await button("Refresh").click();
      await button("Pin").click();
      await shows(page, "#outcome", /not asked: what the button before asks for is still under way/);
      asked.open();
      await shows(page, "#outcome", /refreshed: team\/held:1\.0/);
      await follows.opened;
      release.open();
      heal();
      await shows(page, "#outcome", /all of it is here: team\/held:1\.0/);
      t.match(troubles, [/status of 502/, /status of 503/]);
      await page.context().close();
    },
  );

  await t.test("upstreams that are wrong in every way, on a node without traffic", async (t) => {
    const config = join(t.testdir(), "entrepot.yaml");
    const { origin } = upstream.url;
    await writeFile(
      config,
      `upstreams:
  - { name: typo, url: "${origin}/elsewhere", username: ${upstream.username}, password: ${upstream.password} }
  - { name: wrong, url: "${url}", username: ci, password: wrong }
  - { name: dead, url: "http://127.0.0.1:1" }
  - { name: well, url: "${url}", username: ${upstream.username}, password: ${upstream.password} }
opsPage: { runbook: "https://wiki.example.com/mirror", grafana: "https://grafana.example.com" }
`,
    );
    const far = { url: "", username: "", password: "" };
    const unset = {
      ENTREPOT_UPSTREAM_URL: undefined,
      ENTREPOT_UPSTREAM_USERNAME: undefined,
      ENTREPOT_UPSTREAM_PASSWORD: undefined,
    };
    const troubled = await startMirror(t, far, { config, env: unset, checksUpstreams: true });
    const { page, troubles } = await visit(browser, `http://${troubled.ops}/`);
    await isLive(page);
    await shows(page, "#verdict", /Degraded/);
    for (const [name, state] of [
      ["typo", "no registry there"],
      ["wrong", "refuses our account"],
      ["dead", "failing"],
      ["well", "answering"],
    ] as const)
      await shows(page, "#upstreams tr", new RegExp(`^${name}.*${state}`));
    await shows(page, "#verdict", /typo: .*is not answered by a registry/);
    await shows(page, "#upstreams", /dead: 1 attempt without success/);
    t.same(await page.locator("nav a").allTextContents(), ["Runbook", "Grafana"]);
    t.strictSame(await barriers(page), []);
    await picture(page, "upstreams-wrong");
    t.strictSame(troubles, []);
    await page.context().close();
    await troubled.stop();
  });

  await t.test("a node that goes away is told", async (t) => {
    const { page } = await visit(browser, page_);
    await isLive(page);
    await mirror.stop();
    await shows(page, "#connection", /connection lost/);
    t.equal(await page.locator("#connection").getAttribute("class"), "lost");
    await picture(page, "lost");
    await shows(page, "#verdict", /No answer.*nothing has been heard of this node for/s);
    t.match(await page.locator("#icon").getAttribute("href"), /c8281e/, "the tab's icon is red, too");
    await page.context().close();
  });
});
