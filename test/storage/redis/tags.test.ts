// What of a tag record in Redis counts as one, whoever has written it. The whole store is tested with servers in test/system.
import t from "tap";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import type { Notice } from "../../../src/ports/event.ts";
import type { RedisConnection } from "../../../src/storage/redis/connection.ts";
import { RedisTags } from "../../../src/storage/redis/tags.ts";
import { digestOf } from "../../fixtures/images.ts";

const scope = { upstream: "hub", repository: "team/app" as Repository };
const tag = "latest" as Tag;
const mediaType = "application/vnd.oci.image.manifest.v1+json";
const digest = digestOf(Buffer.from("a manifest"));

function setUp() {
  const notices: Notice[] = [];
  const state: { text: string | null } = { text: null };
  const client = {
    get: async () => state.text,
    /** Keeps what is newer, but for what is said to be malformed; see the script. */
    putTag: async (_: string, text: string, checkedAt: number, __: number, malformed: string) => {
      const before = state.text;
      const newer = before !== null && before !== malformed && JSON.parse(before).checkedAt > checkedAt;
      if (newer) return before;
      state.text = text;
      return null;
    },
  };
  const connection = {
    keys: { tag: () => "key" },
    run: (_: string, work: (with_: typeof client) => unknown) => work(client),
  } as unknown as RedisConnection;
  const tags = new RedisTags({ connection, lifetime: () => 1_000, notices: (each) => notices.push(each) });
  return { tags, notices, state };
}

t.test("a record that was confirmed at no time there is cannot be read, and is replaced", async (t) => {
  for (const checkedAt of ["1e300", "8640000000000001", "-1", "1.5", '"1"', "null"]) {
    const { tags, notices, state } = setUp();
    state.text = `{"digest":"${digest}","mediaType":"${mediaType}","size":1,"checkedAt":${checkedAt}}`;
    t.equal(await tags.get(scope, tag), undefined, checkedAt);
    t.match(notices, [{ kind: "store_error", op: "redis.tags.get" }]);
    const record = { digest, mediaType, size: 1, checkedAt: 5 };
    t.equal(await tags.put(scope, tag, record), true);
    t.strictSame(await tags.get(scope, tag), record);
  }
});

t.test("what is put can be read: a time before the epoch is the epoch", async (t) => {
  for (const [given, kept] of [
    [0, 0],
    [8.64e15, 8.64e15],
    [-5, 0],
    [7.9, 7],
  ] as const) {
    const { tags, notices } = setUp();
    t.equal(await tags.put(scope, tag, { digest, mediaType, size: 1, checkedAt: given }), true);
    t.equal((await tags.get(scope, tag))?.checkedAt, kept);
    t.strictSame(notices, []);
  }
});
