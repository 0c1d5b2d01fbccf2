import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import t, { type Test } from "tap";
import type { Repository } from "../../../src/oci/name.ts";
import type { Scope } from "../../../src/ports/scope.ts";
import { Layout } from "../../../src/storage/disk/layout.ts";
import { SqliteAnswers } from "../../../src/storage/index/answers.ts";
import { Database } from "../../../src/storage/index/database.ts";
import { Repositories } from "../../../src/storage/index/repositories.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { answerStoreSuite } from "../../fixtures/answer-store-suite.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";

const app: Scope = { upstream: "hub", repository: "team/app" as Repository };
const subject = digestOf(Buffer.from("subject"));

t.test("the suite of every AnswerStore", (t) =>
  answerStoreSuite(t, async (t) => {
    const index = openIndex({ directory: t.testdir(), clock: Date.now });
    t.teardown(() => index.close());
    return index;
  }),
);

t.test("answers are there after a restart", async (t) => {
  const directory = t.testdir();
  const before = openIndex({ directory, clock: Date.now });
  before.blobs.add(subject, 7, "application/x", 1);
  await before.links.add(app, [{ digest: subject, size: 7 }]);
  before.answers.put(app, "a", subject, { content: Buffer.from("list"), at: 3 });
  before.close();
  const after = openIndex({ directory, clock: Date.now });
  t.teardown(() => after.close());
  t.strictSame(after.answers.get(app, "a"), { content: Buffer.from("list"), at: 3 });
});

t.test("all of them have a bound: lists of tags go first, the oldest first", async (t) => {
  const directory = t.testdir();
  const index = openIndex({ directory, clock: Date.now });
  index.blobs.add(subject, 7, "application/x", 1);
  await index.links.add(app, [{ digest: subject, size: 7 }]);
  index.close();
  const answers = bounded(t, directory, 100_000);
  answers.put(app, "about", subject, { content: Buffer.alloc(1_000), at: 1 });
  const keys = Array.from({ length: 250 }, (_, i) => `tags ${String(i).padStart(3, "0")}`);
  for (const [i, key] of keys.entries())
    answers.put(app, key, undefined, { content: Buffer.alloc(1_000), at: 10 + i });
  t.ok(answers.get(app, "about"), "what is about a manifest stays, though it is the oldest");
  const left = keys.filter((key) => answers.get(app, key) !== undefined);
  t.ok(left.length > 0 && left.length < 100, `${left.length} lists of 1,008 bytes with their keys`);
  t.strictSame(left, keys.slice(-left.length), "the latest are left");
  answers.put(app, "too large", undefined, { content: Buffer.alloc(25_001), at: 999 });
  t.equal(answers.get(app, "too large"), undefined);
});

t.test("the total is what is kept", async (t) => {
  const directory = t.testdir();
  const index = openIndex({ directory, clock: Date.now });
  index.blobs.add(subject, 7, "application/x", 1);
  await index.links.add(app, [{ digest: subject, size: 7 }]);
  index.answers.put(app, "abc", subject, { content: Buffer.alloc(100), at: 1 });
  index.answers.put(app, "abc", subject, { content: Buffer.alloc(50), at: 1 });
  index.answers.put(app, "tags", undefined, { content: Buffer.alloc(10), at: 1 });
  index.answers.put(app, "none", subject, { content: undefined, at: 1 });
  const total = (): number => {
    const db = new DatabaseSync(join(directory, "index.db"));
    const bytes = Number(db.prepare("SELECT answer_bytes FROM state").get()?.answer_bytes);
    db.close();
    return bytes;
  };
  index.close();
  t.equal(total(), 3 + 50 + 4 + 10 + 4);
  const again = openIndex({ directory, clock: Date.now });
  again.blobs.remove(subject);
  again.close();
  t.equal(total(), 4 + 10);
});

function bounded(t: Test, directory: string, most: number): SqliteAnswers {
  const database = new Database(new Layout(directory), undefined);
  t.teardown(() => database.close());
  return new SqliteAnswers(database, new Repositories(database), most);
}
