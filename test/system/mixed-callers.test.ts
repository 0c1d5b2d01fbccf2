// Callers of a file of users, mixed (fixtures/mixed-callers.ts): one process and several, one node and two.
import t from "tap";
import { onOneNode, twoNodes } from "./fixtures/mixed-callers.ts";

t.setTimeout(300_000);

const requests = 10_000;

for (const workers of [1, 4])
  t.test(`one node with workers: ${workers}`, (t) => onOneNode(t, "htpasswd", workers, requests));

t.test("two nodes that share a Redis and read from each other", async (t) => {
  const read = await twoNodes(t, "htpasswd", requests);
  if (read !== undefined) t.ok(read > 0, `${read} blobs came from the other node`);
});
