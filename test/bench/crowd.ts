// A program: downloads one URL many times at once, without hashing, and prints the seconds all of it took. A process
// of its own, so that it takes nothing from a client that measures latencies. Arguments: URL, count, size in bytes.
import { download } from "../system/fixtures/download.ts";

const [url = "", count = "", size = ""] = process.argv.slice(2);
const start = performance.now();
const got = await Promise.all(
  Array.from({ length: Number(count) }, () => download(url, { hash: false }).done),
);
const seconds = (performance.now() - start) / 1000;
const wrong = got.filter(({ status, bytes }) => status !== 200 || bytes !== Number(size));
if (wrong.length > 0)
  throw new Error(`${wrong.length} of ${count} downloads were wrong: ${JSON.stringify(wrong[0])}`);
process.stdout.write(`${JSON.stringify({ seconds })}\n`);
