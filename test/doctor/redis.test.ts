import t from "tap";
import { memoryFinding } from "../../src/doctor/redis.ts";

const info = (policy: string, most: number, used: number): string =>
  `# Memory\r\nused_memory:${used}\r\nmaxmemory:${most}\r\nmaxmemory_policy:${policy}\r\n`;

t.test("what Redis evicts is warned of when it is about to", async (t) => {
  t.equal(memoryFinding(info("noeviction", 0, 10)).outcome, "ok");
  t.equal(memoryFinding(info("allkeys-lru", 100, 10)).outcome, "ok");
  t.match(memoryFinding(info("allkeys-lru", 100, 95)), { outcome: "warning", fix: /evicted/ });
  t.match(memoryFinding(info("noeviction", 100, 95)), { outcome: "warning", fix: /writes are refused/ });
  t.equal(memoryFinding("# Memory\r\n").outcome, "skipped");
});
