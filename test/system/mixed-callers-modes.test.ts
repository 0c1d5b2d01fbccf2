// Callers with tokens, and callers whom the registry knows, mixed (fixtures/mixed-callers.ts): with workers, where clients are
// sent to a bucket, and where two nodes sign what they ask each other.
import t from "tap";
import { onOneNode, twoNodes, withBucket } from "./fixtures/mixed-callers.ts";

t.setTimeout(400_000);

const requests = 2_000;

t.test("tokens, with workers: 2", (t) => onOneNode(t, "token", 2, requests));

for (const workers of [1, 2])
  t.test(`passthrough, with workers: ${workers}`, (t) => onOneNode(t, "passthrough", workers, requests));

for (const mode of ["token", "passthrough"] as const)
  t.test(`${mode}: what a bucket has, to which clients are sent`, (t) => withBucket(t, mode, requests));

t.test("passthrough: two nodes that share a Redis and sign what they ask each other", async (t) => {
  await twoNodes(t, "passthrough", requests);
});
