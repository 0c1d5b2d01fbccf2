import { PassThrough } from "node:stream";
import t from "tap";
import { withProgress } from "../../src/demo/fleet.ts";

t.test("without a terminal only the work is done", async (t) => {
  const result = await withProgress(undefined, async (onProgress) => {
    onProgress(1, 2);
    return "done";
  });
  t.equal(result, "done");
});

t.test("on a terminal there is a bar, gone when the work ends or fails", async (t) => {
  const terminal = Object.assign(new PassThrough(), { isTTY: true, columns: 80 });
  const seen = () => String(terminal.read() ?? "");
  await withProgress(terminal, async (onProgress) => onProgress(12_000_000, 24_000_000));
  t.match(seen(), /50 % +12\.0 MB of 24\.0 MB/);
  const work = async () => {
    throw new Error("broken off");
  };
  await t.rejects(withProgress(terminal, work), { message: "broken off" });
  seen();
  await new Promise(setImmediate);
  t.equal(seen(), "", "nothing is drawn afterwards");
});
