import t from "tap";
import type { Announcement } from "../../../src/ports/shared.ts";
import { RedisAnnouncements } from "../../../src/storage/redis/announcements.ts";
import type { RedisConnection } from "../../../src/storage/redis/connection.ts";
import { RedisKeys } from "../../../src/storage/redis/keys.ts";
import type { RedisListener } from "../../../src/storage/redis/listener.ts";
import { everyAnnouncement } from "../../fixtures/announcements-suite.ts";
import { eventually, ManualPause } from "../../fixtures/manual-time.ts";
import { sha256 } from "../../fixtures/memory-upstream.ts";

const upstreams = [{ name: "hub", url: new URL("https://hub.example.com"), repositoryPrefix: "" }];
const keys = new RedisKeys("", 0, upstreams);
const upstream = keys.upstream("hub");
const repository = "team/app";
const digest = sha256(Buffer.from("a"));

/** What nodes of every version have on the channel, in the order of `everyAnnouncement`. */
const messages = [
  { kind: "tag", upstream, repository, tag: "latest" },
  { kind: "confirmed", upstream, repository, tag: "latest" },
  { kind: "unlinked", upstream, repository, digest },
  { kind: "absent", upstream, repository, as: "manifest", what: "latest" },
  { kind: "absent", upstream, repository, as: "blob", what: digest },
  { kind: "written", upstream, repository },
  { kind: "released", key: 'blob "a" {b}' },
];

/** Announcements over a Redis that only takes note: of what is said, and how to say something. `nodes` listen to it. */
function noted({ nodes = 1, listening = true } = {}) {
  const sent: string[] = [];
  const listeners: ((text: string) => void)[] = [];
  const pauses = new ManualPause();
  pauses.instant = () => false;
  const client = {
    isCluster: false,
    publish: async (_: string, text: string) => {
      sent.push(text);
      return nodes;
    },
  };
  const announcements = new RedisAnnouncements({
    connection: {
      usable: true,
      keys,
      run: async (_: string, ask: (to: typeof client) => unknown) => ask(client),
    } as unknown as RedisConnection,
    listener: {
      listening,
      listen: (listener: (text: string) => void) => void listeners.push(listener),
    } as unknown as RedisListener,
    pause: pauses.pause,
  });
  const receive = (text: string): void => {
    for (const listener of listeners) listener(text);
  };
  const said = (): Record<string, unknown>[] =>
    sent.map((text) => JSON.parse(text) as Record<string, unknown>);
  return { announcements, sent, said, receive, pauses };
}

t.test("nodes of other versions read what is said, and are understood", async (t) => {
  const { announcements, said, receive } = noted();
  for (const announcement of everyAnnouncement) void announcements.publish(announcement);
  t.strictSame(
    said().map(({ from: _, number: __, ...message }) => message),
    messages,
  );
  const heard: Announcement[] = [];
  announcements.subscribe(
    (announcement) => heard.push(announcement),
    () => {},
  );
  for (const message of messages) receive(JSON.stringify({ from: "another node", ...message }));
  t.strictSame(heard, everyAnnouncement);
  t.equal(said().length, messages.length, "what has no number is not acknowledged");
});

t.test("nothing but the names of a scope goes over the wire", async (t) => {
  const { announcements, said } = noted();
  const [first] = everyAnnouncement;
  if (first?.kind !== "tag") throw new Error("the first one is of a tag");
  void announcements.publish({
    ...first,
    scope: { ...first.scope, ...{ registry: { password: "secret" } } },
  });
  const [{ from: _, number: __, ...message } = {}] = said();
  t.strictSame(message, messages[0]);
});

const [tag] = everyAnnouncement as [Announcement, ...Announcement[]];
const late = everyAnnouncement.filter(({ kind }) => ["confirmed", "absent", "released"].includes(kind));

/** Whether the promise is still pending once everything that can happen has. */
async function pends(promise: Promise<unknown>): Promise<boolean> {
  let over = false;
  void promise.then(() => (over = true));
  for (let round = 0; round < 10; round++) await new Promise(setImmediate);
  return !over;
}

t.test("it is known when as many have acknowledged it as listen, this node among them", async (t) => {
  const { announcements, sent, said, receive } = noted({ nodes: 3 });
  const known = announcements.publish(tag);
  const [{ from, number } = {}] = said();
  receive(sent[0] ?? "");
  receive(JSON.stringify({ from: "b", kind: "heard", to: from, number }));
  receive(JSON.stringify({ from: "c", kind: "heard", to: "another", number }));
  receive(JSON.stringify({ from: "c", kind: "heard", to: from, number: Number(number) + 1 }));
  receive(JSON.stringify({ from: "c", kind: "heard", to: from }));
  t.ok(await pends(known), "two of three");
  receive(JSON.stringify({ from: "c", kind: "heard", to: from, number }));
  await known;
  t.equal(said().length, 1, "and an acknowledgement is not acknowledged");
});

t.test("one that hangs is waited for a second", async (t) => {
  const { announcements, pauses } = noted({ nodes: 2 });
  const known = announcements.publish(tag);
  t.ok(await pends(known));
  t.strictSame(pauses.asked, [1_000]);
  pauses.elapse();
  await known;
});

t.test("nobody is waited for by who cannot hear, nor for what may come late", async (t) => {
  const deaf = noted({ nodes: 2, listening: false });
  await deaf.announcements.publish(tag);
  t.strictSame(deaf.pauses.asked, []);
  const { announcements, pauses, said } = noted({ nodes: 2 });
  for (const announcement of late) await announcements.publish(announcement);
  t.strictSame(pauses.asked, []);
  t.equal(said().length, 4);
  t.notOk(said().some((message) => "number" in message));
});

t.test(
  "what another node says is acknowledged when all who listen have acted upon it, even one that fails",
  async (t) => {
    const { announcements, said, receive } = noted();
    const { promise, resolve } = Promise.withResolvers<void>();
    announcements.subscribe(
      () => promise,
      () => {},
    );
    announcements.subscribe(
      async () => {
        throw new Error("it cannot");
      },
      () => {},
    );
    receive(JSON.stringify({ from: "another node", number: 7, ...messages[0] }));
    await new Promise(setImmediate);
    t.strictSame(said(), []);
    resolve();
    await eventually("it is acknowledged", () => said().length === 1);
    t.match(said(), [{ kind: "heard", to: "another node", number: 7, from: String }]);
  },
);

t.test("of an upstream that is not known here there is nothing to forget", async (t) => {
  const { said, receive } = noted();
  receive(JSON.stringify({ from: "another node", number: 8, ...messages[0], upstream: "none" }));
  await eventually("it is acknowledged", () => said().length === 1);
  for (const wrong of [{ number: "9" }, { number: 9, from: 1 }, { number: 1e300 }])
    receive(JSON.stringify({ from: "another node", ...messages[0], ...wrong }));
  for (let round = 0; round < 10; round++) await new Promise(setImmediate);
  t.equal(said().length, 1, "who cannot be answered is not");
});
