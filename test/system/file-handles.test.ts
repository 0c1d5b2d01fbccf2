// Fewer file handles than clients: that is this node's trouble, and no one else's. Nobody gets a wrong answer, no
// upstream is taken for broken, and the node serves on.
import { connect, type Socket } from "node:net";
import t from "tap";
import { Content } from "./fixtures/content.ts";
import { download } from "./fixtures/download.ts";
import { startFront } from "./fixtures/front.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { openHandles } from "./fixtures/open-handles.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(120_000);

/** What a node has open before anybody comes, with room to spare, and 64 more. */
const handles = 64 + 64;

t.test("many connections on few file handles", async (t) => {
  if (!requires(t, "prlimit")) return;
  const stored = new Content("stored", 512 * 1024);
  const cold = Array.from({ length: 40 }, (_, at) => new Content(`cold ${at}`, 128 * 1024));
  const front = await startFront(t);
  front.add(stored, ...cold);
  const mirror = await startMirror(t, front, { handles });
  t.equal((await download(mirror.blobUrl(stored.digest)).done).digest, stored.digest, "it is here");

  // Twice as many as there are handles, so that accepting fails, and they stay.
  const [host, port] = mirror.host.split(":") as [string, string];
  const idle: Socket[] = [];
  let refused = 0;
  for (let i = 0; i < 2 * handles; i += 1) {
    const socket = connect(Number(port), host);
    socket.on("error", () => {});
    socket.once("close", () => {
      refused += 1;
    });
    idle.push(socket);
  }
  await until("accepting has come to its bound", () => refused > 0);
  // A client that gets no place is closed, told 503, or waits; whoever is served has the right bytes.
  const outcomes = await Promise.all(
    [stored, ...cold].map(async ({ digest }) => {
      try {
        const answer = await download(mirror.blobUrl(digest)).done;
        if (answer.status === 200) return answer.complete && answer.digest === digest ? "right" : "cut";
        return answer.status;
      } catch {
        return "closed";
      }
    }),
  );
  t.comment(`outcomes: ${[...new Set(outcomes)].join(", ")}; ${refused} of ${idle.length} closed`);
  t.ok(
    outcomes.every((outcome) => outcome === "right" || outcome === "closed" || outcome === 503),
    "each is right, or told that this node has no room",
  );
  t.ok(mirror.process.running, "it lives");
  const { all } = await openHandles(mirror.process.pid, mirror.cacheDirectory);
  t.ok(all < handles, "a reserve is left to what runs");

  for (const socket of idle) socket.destroy();
  await until("their handles are free", async () => {
    const { sockets } = await openHandles(mirror.process.pid, mirror.cacheDirectory);
    return sockets < 32;
  });
  for (const { digest } of [stored, ...cold]) {
    const answer = await download(mirror.blobUrl(digest)).done;
    t.match(answer, { status: 200, complete: true, digest }, "served as ever");
  }
  const opened = mirror.process
    .output()
    .split("\n")
    .filter((line) => line.includes('"state":"open"'));
  t.same(opened, [], "no circuit has opened");
});
