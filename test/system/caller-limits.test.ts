// Limits for some callers count for a node, also with several processes, and for what those remember.
import { writeFile } from "node:fs/promises";
import { get } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { Content } from "./fixtures/content.ts";
import { startFront } from "./fixtures/front.ts";
import { startMirror } from "./fixtures/mirror.ts";

t.setTimeout(120_000);

/** The status, and Retry-After, of one request on a connection of its own; it is given up at the end of the test. */
function ask(
  t: Test,
  url: string,
  localAddress: string,
): Promise<{ status: number; retryAfter: string | undefined }> {
  return new Promise((resolve, reject) => {
    const request = get(url, { localAddress, agent: false }, (response) => {
      response.resume();
      resolve({ status: response.statusCode ?? 0, retryAfter: response.headers["retry-after"] });
    });
    request.on("error", reject);
    t.teardown(() => request.destroy());
  });
}

for (const workers of [1, 2]) {
  t.test(`requests a second of one network; processes: ${workers}`, async (t) => {
    const blob = new Content("limited", 64 * 1024);
    const front = await startFront(t);
    front.add(blob);
    const config = join(t.testdir(), "entrepot.yaml");
    await writeFile(config, "limits: {rules: [{networks: [127.0.0.2/32], requestsPerSecond: 1}]}\n");
    const mirror = await startMirror(t, front, { config, env: { ENTREPOT_WORKERS: String(workers) } });
    const url = mirror.blobUrl(blob.digest);
    // From now on it is here, and remembered by workers.
    for (let i = 0; i < 10; i++) t.equal((await ask(t, url, "127.0.0.1")).status, 200);
    const refused = Promise.withResolvers<string | undefined>();
    let served = 0;
    for (let i = 0; i < 60; i++)
      ask(t, url, "127.0.0.2").then(
        ({ status, retryAfter }) => {
          if (status === 200) served++;
          if (status === 429) refused.resolve(retryAfter);
        },
        () => {},
      );
    t.match(await refused.promise, /^\d+$/, "some are told when to come again");
    const others = await Promise.all(Array.from({ length: 20 }, () => ask(t, url, "127.0.0.1")));
    t.ok(
      others.every(({ status }) => status === 200),
      "others do not notice",
    );
    t.ok(served < 60 - 11, `${served} of 60`);
    t.ok((await mirror.metric("entrepot_caller_limit_requests_total", 'rule="1",result="waited"')) > 0);
    t.ok((await mirror.metric("entrepot_caller_limit_requests_total", 'rule="1",result="refused"')) > 0);
  });
}
