import t from "tap";
import type { Announcement } from "../../../src/ports/shared.ts";
import { RedisAnnouncements } from "../../../src/storage/redis/announcements.ts";
import type { RedisConnection } from "../../../src/storage/redis/connection.ts";
import { RedisKeys } from "../../../src/storage/redis/keys.ts";
import type { RedisListener } from "../../../src/storage/redis/listener.ts";
import { everyAnnouncement } from "../../fixtures/announcements-suite.ts";
import { sha256 } from "../../fixtures/memory-upstream.ts";

const upstreams = [{ name: "hub", url: new URL("https://hub.example.com"), repositoryPrefix: "" }];
const keys = new RedisKeys("", 0, upstreams);
const upstream = keys.upstream("hub");
const repository = "team/app";
const digest = sha256(Buffer.from("a"));

/** What nodes of every version have on the channel, in the order of `everyAnnouncement`. */
const messages = [
  { kind: "tag", upstream, repository, tag: "latest" },
  { kind: "unlinked", upstream, repository, digest },
  { kind: "absent", upstream, repository, as: "manifest", what: "latest" },
  { kind: "absent", upstream, repository, as: "blob", what: digest },
  { kind: "written", upstream, repository },
  { kind: "released", key: 'blob "a" {b}' },
];

/** Announcements over a Redis that only takes note: of what is said, and how to say something. */
function noted() {
  const sent: string[] = [];
  const listeners: ((text: string) => void)[] = [];
  const client = { isCluster: false, publish: async (_: string, text: string) => sent.push(text) };
  const announcements = new RedisAnnouncements({
    connection: {
      usable: true,
      keys,
      run: async (_: string, ask: (to: typeof client) => unknown) => ask(client),
    } as unknown as RedisConnection,
    listener: {
      listen: (listener: (text: string) => void) => void listeners.push(listener),
    } as unknown as RedisListener,
  });
  const receive = (text: string): void => {
    for (const listener of listeners) listener(text);
  };
  return { announcements, sent, receive };
}

t.test("nodes of other versions read what is said, and are understood", async (t) => {
  const { announcements, sent, receive } = noted();
  for (const announcement of everyAnnouncement) announcements.publish(announcement);
  const said = sent.map((text) => JSON.parse(text) as Record<string, unknown>);
  t.strictSame(
    said.map(({ from: _, ...message }) => message),
    messages,
  );
  const heard: Announcement[] = [];
  announcements.subscribe(
    (announcement) => heard.push(announcement),
    () => {},
  );
  for (const message of messages) receive(JSON.stringify({ from: "another node", ...message }));
  t.strictSame(heard, everyAnnouncement);
});

t.test("nothing but the names of a scope goes over the wire", async (t) => {
  const { announcements, sent } = noted();
  const [first] = everyAnnouncement;
  if (first?.kind !== "tag") throw new Error("the first one is of a tag");
  announcements.publish({ ...first, scope: { ...first.scope, ...{ registry: { password: "secret" } } } });
  const { from: _, ...message } = JSON.parse(sent[0] ?? "") as Record<string, unknown>;
  t.strictSame(message, messages[0]);
});
