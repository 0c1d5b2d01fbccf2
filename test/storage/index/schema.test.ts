// Migrations of the index: every earlier version becomes the present one and keeps its rows, and is then like a new
// file.
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import t from "tap";
import { makeDigest } from "../../../src/oci/digest.ts";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import {
  migrate,
  migrations,
  NewerSchema,
  schemaVersion,
  UnknownSchema,
} from "../../../src/storage/index/schema.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";

const latest = migrations.length;
const digest = makeDigest("sha256", "ab".repeat(32));

/** A database of the first `version` migrations. */
function made(path: string, version: number, steps = migrations): DatabaseSync {
  const db = new DatabaseSync(path);
  migrate(db, 0, steps.slice(0, version));
  return db;
}

function schema(db: DatabaseSync) {
  return db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").all();
}

/** Rows as version 1 wrote them. */
const rowsOfVersion1 = `
INSERT INTO repositories (upstream, name) VALUES ('hub', 'team/app');
INSERT INTO tags (repository, tag, digest, media_type, size, checked_at)
  VALUES (1, '1.0', x'${"ab".repeat(32)}', 'application/vnd.oci.image.manifest.v1+json', 7, 1000);
INSERT INTO links (digest, repository, size) VALUES (x'${"ab".repeat(32)}', 1, 7);
INSERT INTO blobs (digest, size, media_type, used_at) VALUES (x'${"ab".repeat(32)}', 7, NULL, 1000);
INSERT INTO children (manifest, child) VALUES (x'${"ab".repeat(32)}', x'${"cd".repeat(32)}');
`;

for (let version = 1; version <= latest; version++)
  t.test(`an index of version ${version} is opened with all it knows`, async (t) => {
    const directory = t.testdir();
    const old = made(join(directory, "index.db"), version);
    old.exec(rowsOfVersion1);
    old.close();
    const index = openIndex({ directory, clock: () => 2000 });
    const tag = await index.tags.get({ upstream: "hub", repository: "team/app" as Repository }, "1.0" as Tag);
    t.match(tag, { digest, size: 7, checkedAt: 1000 });
    t.equal(index.loss, undefined);
    t.same(index.blobs.totals(), { bytes: 7, count: 1 });
    t.equal(index.blobs.manifestsNaming(makeDigest("sha256", "cd".repeat(32))), 1);
    t.equal(await index.links.named({ upstream: "hub", repository: "team/app" as Repository }, digest), true);
    t.same(index.blobs.repositories("hub", undefined, 10), ["team/app"]);
    index.close();
    const migrated = new DatabaseSync(join(directory, "index.db"));
    const fresh = made(":memory:", latest);
    t.same(schema(migrated), schema(fresh), "the schema of a new file");
    t.equal(schemaVersion(migrated), latest);
    migrated.close();
    fresh.close();
  });

t.test("links of before version 4 count where one upstream alone has the digest", async (t) => {
  const directory = t.testdir();
  const old = made(join(directory, "index.db"), 3);
  old.exec(rowsOfVersion1);
  old.exec(`INSERT INTO repositories (upstream, name) VALUES ('hub', 'team/other'), ('mirror', 'team/app');
    INSERT INTO links (digest, repository, size) VALUES (x'${"ab".repeat(32)}', 2, 7),
      (x'${"cd".repeat(32)}', 1, 7), (x'${"cd".repeat(32)}', 3, 7)`);
  old.close();
  const index = openIndex({ directory, clock: () => 2000 });
  t.teardown(() => index.close());
  const has = (upstream: string, name: string, of = digest) =>
    index.links.has({ upstream, repository: name as Repository }, of);
  t.equal(await has("hub", "team/app"), true);
  t.equal(await has("hub", "team/other"), true);
  const both = makeDigest("sha256", "cd".repeat(32));
  t.equal(await has("hub", "team/app", both), false, "its bytes may have come from either");
  t.equal(await has("mirror", "team/app", both), false);
  t.equal(await index.links.named({ upstream: "mirror", repository: "team/app" as Repository }, both), true);
});

t.test("links of before version 6 are counted, and taken for confirmed when they got there", async (t) => {
  const directory = t.testdir();
  const old = made(join(directory, "index.db"), 5);
  old.exec(rowsOfVersion1);
  old.exec(
    `INSERT INTO links (digest, repository) VALUES (x'${"cd".repeat(32)}', 1), (x'${"ef".repeat(32)}', 1)`,
  );
  old.close();
  const before = Math.floor(Date.now() / 1000) * 1000;
  openIndex({ directory, clock: Date.now }).close();
  const db = new DatabaseSync(join(directory, "index.db"));
  t.teardown(() => db.close());
  const count = () => db.prepare("SELECT links FROM state").get()?.links;
  t.equal(count(), 3);
  t.equal(db.prepare("SELECT count(*) AS n FROM links WHERE confirmed_at < ?").get(before)?.n, 0);
  db.exec("DELETE FROM links WHERE size IS NULL");
  t.equal(count(), 1);
});

t.test("steps", async (t) => {
  const steps = [
    "CREATE TABLE a (x INTEGER) STRICT",
    "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 5",
    "CREATE INDEX a_y ON a (y); UPDATE a SET y = 6",
  ];
  const versionAndRow = (db: DatabaseSync) => [
    schemaVersion(db, steps),
    { ...db.prepare("SELECT * FROM a").get() },
  ];

  await t.test("an older file takes those it has not had, in order, once", async (t) => {
    const db = made(":memory:", 1, steps);
    db.exec("INSERT INTO a (x) VALUES (1)");
    t.equal(schemaVersion(db, steps), 1);
    migrate(db, 1, steps);
    t.same(versionAndRow(db), [3, { x: 1, y: 6 }]);
    migrate(db, 3, steps);
    t.same(versionAndRow(db), [3, { x: 1, y: 6 }]);
  });

  await t.test("one that fails leaves the file as it was", async (t) => {
    const db = made(":memory:", 1, steps);
    db.exec("INSERT INTO a (x) VALUES (1)");
    t.throws(() => migrate(db, 1, [...steps.slice(0, 2), "CREATE TABLE a (z INTEGER)"]), /already exists/);
    t.equal(db.isTransaction, false);
    t.same(versionAndRow(db), [1, { x: 1 }]);
  });

  await t.test("a schema that is none of ours", async (t) => {
    const refusal = (change: string): unknown => {
      const db = made(":memory:", 2, steps);
      db.exec(change);
      try {
        return schemaVersion(db, steps);
      } catch (error) {
        return error;
      }
    };
    t.equal(refusal(""), 2);
    t.match(
      refusal("DROP TABLE a; CREATE TABLE b (x)"),
      new UnknownSchema("its schema is not that of version 2: a is missing"),
    );
    t.match(
      refusal("CREATE TABLE b (x)"),
      new UnknownSchema("its schema is not that of version 2: b is foreign"),
    );
    t.match(
      refusal("ALTER TABLE a DROP COLUMN y"),
      new UnknownSchema("its schema is not that of version 2: a is another"),
    );
    t.match(refusal("PRAGMA user_version = 3"), { message: /not that of version 3: a_y is missing/ });
    t.type(refusal("PRAGMA user_version = 0"), UnknownSchema);
    t.type(refusal("PRAGMA user_version = -1"), UnknownSchema);
    t.type(refusal("PRAGMA application_id = 0"), UnknownSchema);
    t.type(refusal("PRAGMA user_version = 4"), NewerSchema);
    t.equal(schemaVersion(new DatabaseSync(":memory:"), steps), 0, "an empty file");
  });
});
