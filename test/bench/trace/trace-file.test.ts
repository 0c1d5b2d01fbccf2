// Recorded traces are read as they come; what is no size is said with its line.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { contentOf } from "./trace-content.ts";
import { readTrace } from "./trace-file.ts";

async function read(t: Test, lines: readonly string[]) {
  const file = join(t.testdir(), "trace");
  await writeFile(file, `${lines.join("\n")}\n`);
  return await readTrace(file);
}

t.test("URIs with and without sizes, in their order", async (t) => {
  const { trace, others } = await read(t, [
    "/v2/",
    "/v2/1a/2b/manifests/latest",
    "/v2/1a/2b/blobs/6a9c 2000000",
    "/v2/3c/blobs/6a9c,2000000",
    "/v2/1a/2b/blobs/77aa",
    "/v2/1a/2b/blobs/uploads/",
    "/v2/1a/2b/tags/list",
    "/v2/1a/2b/manifests/latest",
  ]);
  t.equal(others, 2, "an upload and a list of tags");
  t.equal(trace.length, 6);
  t.match(trace, [
    { kind: "ping" },
    { kind: "manifest", repository: 0 },
    { kind: "blob", repository: 0, content: 0, size: 2_000_000 },
    { kind: "blob", repository: 1, content: 0, size: 2_000_000 },
    { kind: "blob", repository: 0, content: 1, size: Number },
  ]);
  t.equal(trace.at(-1), trace[1], "the same URI is the same resource");
});

t.test("it becomes content of the wanted size, once for each digest", async (t) => {
  const { trace } = await read(t, [
    "/v2/a/blobs/1 3000000",
    "/v2/b/blobs/1 3000000",
    "/v2/a/blobs/2 1000000",
    "/v2/a/manifests/x",
  ]);
  const { asked, repositories, scale, uniqueBytes, askedBytes } = contentOf(trace, 4_000);
  t.equal(scale, 1_000);
  t.equal(uniqueBytes, 4_000);
  t.equal(askedBytes, 7_000);
  t.same(
    repositories.map(({ name, blobs }) => [name, blobs.map(({ size }) => size)]),
    [
      ["trace/r0", [3_000, 1_000]],
      ["trace/r1", [3_000]],
    ],
  );
  t.equal(repositories[0]?.blobs[0]?.digest, repositories[1]?.blobs[0]?.digest);
  t.equal(asked[0]?.path, `/v2/trace/r0/blobs/${repositories[0]?.blobs[0]?.digest}`);
  t.equal(asked[3]?.size, repositories[0]?.manifests[0]?.body.length);
});

t.test("what is wrong is said", async (t) => {
  await t.rejects(read(t, ["/v2/", "/v2/a/blobs/1 large"]), /line 2: large is no size in bytes/);
  await t.rejects(read(t, ["hello"]), /no line of it is a URI such as/);
  await t.rejects(readTrace(join(t.testdir(), "missing")), { code: "ENOENT" });
});
