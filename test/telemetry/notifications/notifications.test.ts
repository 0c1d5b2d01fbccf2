import t, { type Test } from "tap";
import type { Notice } from "../../../src/ports/event.ts";
import { Secret } from "../../../src/ports/secret.ts";
import type { EndpointOptions } from "../../../src/telemetry/notifications/notification-endpoint.ts";
import { createNotifications } from "../../../src/telemetry/notifications/notifications.ts";
import { type EventReceiver, startReceiver } from "../../fixtures/event-receiver.ts";
import { sampleDigest, sampleEvent } from "../../fixtures/telemetry-samples.ts";

const mediaType = "application/octet-stream";

function endpoint(receiver: EventReceiver, changes: Partial<EndpointOptions> = {}): EndpointOptions {
  return {
    name: "audit",
    url: receiver.url,
    headers: [],
    timeout: 5_000,
    threshold: 3,
    backoff: 1_000,
    mediaType: "v1",
    ignore: { actions: [], mediaTypes: [] },
    headRequests: false,
    ...changes,
  };
}

/** Waits are recorded and end when the test says so. */
class Waits {
  readonly asked: number[] = [];
  readonly #ends: (() => void)[] = [];
  /** Ends them as they begin. */
  short = true;

  readonly pause = async (milliseconds: number, signal: AbortSignal): Promise<void> => {
    this.asked.push(milliseconds);
    if (this.short && milliseconds !== 5_000) return;
    await new Promise<void>((resolve, reject) => {
      this.#ends.push(resolve);
      signal.addEventListener("abort", () => reject(new Error("aborted")), { once: true });
    });
  };

  end(): void {
    for (const end of this.#ends.splice(0)) end();
  }
}

function start(t: Test, ...endpoints: EndpointOptions[]) {
  const notices: (Notice & { kind: "notification" })[] = [];
  const waits = new Waits();
  let told = (): void => {};
  const notifications = createNotifications({
    endpoints,
    source: () => ({ addr: "cache-1:5000", instanceID: "run-1" }),
    notices: (notice) => {
      if (notice.kind === "notification") notices.push(notice);
      told();
    },
    userAgent: "entrepot/test",
    clock: () => Date.UTC(2026, 10, 1),
    pause: waits.pause,
  });
  t.teardown(async () => {
    waits.short = true;
    const closed = notifications.close();
    waits.end();
    await closed;
  });
  return {
    notifications,
    notices,
    waits,
    sum: (result: string) =>
      notices.filter((notice) => notice.result === result).reduce((sum, { events }) => sum + events, 0),
    /** Resolves when the condition holds; looked at with every notice. */
    async until(condition: () => boolean) {
      while (!condition()) {
        await new Promise<void>((resolve) => {
          told = resolve;
        });
      }
    },
    pull: (reference: string, changes = {}) =>
      notifications.onEvent(
        sampleEvent({
          route: "manifest_tag",
          reference,
          content: { digest: sampleDigest, mediaType, size: 10 },
          ...changes,
        }),
      ),
  };
}

const tags = (receiver: EventReceiver) => receiver.events.map(({ target }) => target.tag);

t.test("an envelope, with the configured headers and in order", async (t) => {
  const receiver = await startReceiver(t);
  const secret = { read: async () => new Secret("Bearer hunter2"), problem: undefined };
  const { pull, notifications, sum } = start(
    t,
    endpoint(receiver, { headers: [{ name: "Authorization", value: secret }], mediaType: "v2" }),
  );
  for (const tag of ["a", "b", "c"]) pull(tag);
  await notifications.flush();
  t.same(tags(receiver), ["a", "b", "c"]);
  t.equal(sum("delivered"), 3);
  t.equal(notifications.pending("audit"), 0);
  t.match(receiver.deliveries[0], {
    path: "/events",
    headers: {
      "content-type": "application/vnd.docker.distribution.events.v2+json",
      authorization: "Bearer hunter2",
      "user-agent": "entrepot/test",
    },
  });
});

t.test("every endpoint gets what it wants", async (t) => {
  const [all, some] = [await startReceiver(t), await startReceiver(t)];
  const { pull, notifications } = start(
    t,
    endpoint(all, { headRequests: true }),
    endpoint(some, { name: "some", ignore: { actions: ["delete"], mediaTypes: ["text/plain"] } }),
  );
  pull("a", { content: { digest: sampleDigest, mediaType: "text/plain", size: 1 } });
  pull("b", { method: "DELETE", write: { action: "delete", from: undefined } });
  pull("c", { method: "HEAD" });
  pull("d");
  pull("e", { status: 404 });
  await notifications.flush();
  t.same(tags(all), ["a", "b", "c", "d"]);
  t.same(tags(some), ["d"]);
});

t.test("2xx and 3xx are deliveries, and no redirect is followed; anything else is sent again", async (t) => {
  const receiver = await startReceiver(t);
  const { pull, notifications, sum, notices } = start(t, endpoint(receiver));
  receiver.reactions.push(500, "close", 404, 204, 302);
  pull("a");
  await receiver.until(() => receiver.deliveries.length === 4);
  await notifications.flush();
  pull("b");
  await receiver.until(() => receiver.deliveries.length === 5);
  await notifications.flush();
  t.same(tags(receiver), ["a", "a", "a", "a", "b"]);
  t.same([...new Set(receiver.deliveries.map(({ path }) => path))], ["/events"]);
  t.equal(sum("failed"), 3);
  t.same(
    notices.flatMap(({ message }) => message ?? []),
    ["answered 500", "failed (UND_ERR_SOCKET)", "answered 404"],
  );
});

t.test("after so many failures it waits, longer each time, up to a minute", async (t) => {
  const receiver = await startReceiver(t);
  const { pull, waits, until, sum, notifications } = start(t, endpoint(receiver));
  receiver.reactions.push(...new Array<number>(12).fill(503));
  pull("a");
  await until(() => sum("delivered") === 1);
  const longest = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60].map((seconds) => seconds * 1000);
  t.equal(waits.asked.length, longest.length, "12 failures, of which the first two are tried again at once");
  for (const [at, wait] of waits.asked.entries()) {
    const most = longest[at] as number;
    t.ok(wait >= most / 2 && wait <= most, `${wait} of ${most}`);
  }
  pull("b");
  await notifications.flush();
  t.equal(waits.asked.filter((wait) => wait !== 5_000).length, longest.length, "a success starts anew");
});

t.test("a receiver that hangs is given up after the time-out; one without an end has heard it", async (t) => {
  const receiver = await startReceiver(t);
  const { pull, sum, until, notices } = start(t, endpoint(receiver, { timeout: 100 }));
  receiver.reactions.push("hang");
  // A busy machine may need more than one.
  receiver.usual = "endless";
  pull("a");
  await until(() => sum("delivered") === 1);
  const late = notices.slice(0, -1);
  t.ok(late.length > 0);
  for (const notice of late) t.match(notice, { result: "failed", message: "took longer than 100 ms" });
  t.match(notices.at(-1), { result: "delivered" });
  t.equal(receiver.deliveries.length, notices.length);
});

t.test("10,000 wait; the oldest go for new ones, and are counted", async (t) => {
  const receiver = await startReceiver(t);
  const { pull, sum, until, waits, notifications } = start(t, endpoint(receiver, { threshold: 1 }));
  receiver.usual = 500;
  waits.short = false;
  pull("first");
  await until(() => sum("failed") === 1);
  for (let at = 0; at < 10_004; at++) pull(`t${at}`);
  t.equal(notifications.pending("audit"), 10_000);
  t.equal(sum("dropped"), 5);
  receiver.usual = 200;
  waits.end();
  await until(() => sum("delivered") === 10_000);
  const delivered = tags(receiver).slice(1);
  t.same([delivered[0], delivered.at(-1), delivered.length], ["t4", "t10003", 10_000]);
  t.ok(receiver.deliveries.length < 500, "several in an envelope while many wait");
});

t.test("flushing does not wait for the end of a long wait", async (t) => {
  const receiver = await startReceiver(t);
  const { pull, sum, until, waits, notifications } = start(t, endpoint(receiver, { threshold: 1 }));
  waits.short = false;
  receiver.reactions.push(500);
  pull("a");
  await until(() => waits.asked.length === 1);
  await notifications.flush();
  t.equal(sum("delivered"), 1);
});

t.test("flushing ends after 5 s, and closing drops the rest and says so", async (t) => {
  const receiver = await startReceiver(t);
  const { pull, sum, until, waits, notifications, notices } = start(t, endpoint(receiver));
  receiver.usual = "hang";
  for (const tag of ["a", "b"]) pull(tag);
  await receiver.until(() => receiver.deliveries.length === 1);
  const closed = notifications.close();
  t.same(waits.asked, [5_000]);
  waits.end();
  await closed;
  await until(() => sum("dropped") === 2);
  t.match(notices.at(-1), { message: "the program has ended" });
  pull("c");
  t.equal(receiver.deliveries.length, 1);
});

t.test("a tag that has moved is an event of its own, which can be left out", async (t) => {
  const [wanting, other] = [await startReceiver(t), await startReceiver(t)];
  const { notifications } = start(
    t,
    endpoint(wanting),
    endpoint(other, { ignore: { actions: ["tag.moved"], mediaTypes: [] } }),
  );
  const move = { kind: "tag_moved", upstream: "hub", repository: "team/app", tag: "1.0" } as const;
  notifications.onNotice({ ...move, from: "sha256:a", to: "sha256:b", by: "ann" });
  notifications.onNotice({ ...move, from: "sha256:b", to: "sha256:a", by: undefined });
  await notifications.flush();
  const target = { repository: "team/app", tag: "1.0" };
  t.match(wanting.events, [
    {
      action: "tag.moved",
      timestamp: "2026-11-01T00:00:00.000Z",
      target: { ...target, digest: "sha256:b", fromDigest: "sha256:a" },
      actor: { name: "ann" },
      source: { instanceID: "run-1" },
    },
    { target: { ...target, digest: "sha256:a", fromDigest: "sha256:b" }, actor: {} },
  ]);
  t.same(other.events, []);
});
