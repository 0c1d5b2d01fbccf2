import { execFile } from "node:child_process";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { greetingProgram } from "../../src/demo/greeting-program.ts";

const text = "Grüß Gott from the entrepôt\n";
const native = { x64: "amd64", arm64: "arm64" }[process.arch as string] as "amd64" | "arm64" | undefined;
const skip = process.platform === "linux" && native ? false : "only Linux on amd64 or arm64 can run it";

t.test("this machine runs it", { skip }, async (t) => {
  const file = join(t.testdir(), "hello");
  await writeFile(file, greetingProgram(native ?? "amd64", text));
  await chmod(file, 0o755);
  const { stdout, stderr } = await promisify(execFile)(file);
  t.equal(stdout, text);
  t.equal(stderr, "");
});

t.test("the arm64 code sets the registers it should", async (t) => {
  const program = greetingProgram("arm64", text);
  const word = (index: number): string => program.readUInt32LE(120 + index * 4).toString(16);
  // The text is 31 bytes long and starts 24 bytes after the instruction that takes its address.
  t.same([0, 1, 2, 3, 4, 5, 6, 7].map(word), [
    "d2800808", // mov x8, #64
    "d2800020", // mov x0, #1
    "100000c1", // adr x1, #24
    "d28003e2", // mov x2, #31
    "d4000001", // svc #0
    "d2800ba8", // mov x8, #93
    "d2800000", // mov x0, #0
    "d4000001", // svc #0
  ]);
  t.equal(program.toString("utf8", 120 + 32), text);
});

t.test("a text too long for it is refused", async (t) => {
  t.throws(() => greetingProgram("amd64", "x".repeat(4097)), RangeError);
});
