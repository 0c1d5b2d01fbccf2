import t from "tap";
import { BlockList } from "../../src/gate/block-list.ts";
import {
  type BlockCommand,
  blockId,
  forgetUnblocked,
  keptBlockIds,
  maxBlocks,
  maxPartsInAll,
  maxPartsOfBlock,
  partsOf,
  readBlock,
  writeBlock,
} from "../../src/ports/block/blocks.ts";
import { digestOf, randomBytesFor } from "../fixtures/images.ts";

const digest = (name: string) => digestOf(randomBytesFor(name, 8));
const now = Date.UTC(2026, 11, 1);

function command(name: string, changes: Partial<BlockCommand> = {}): BlockCommand {
  return { digest: digest(name), blocked: true, reason: "bad", at: now, node: "a", parts: [], ...changes };
}

t.test("what was commanded last counts, in whatever order it is heard", (t) => {
  const list = new BlockList();
  t.equal(list.isEmpty, true);
  t.match(list.take([command("x")], now), { blocked: [digest("x")], unblocked: [], gone: [], leftOut: 0 });
  t.match(list.take([command("x", { blocked: false, at: now + 5, reason: "" })], now), {
    blocked: [],
    unblocked: [digest("x")],
  });
  t.match(list.take([command("x", { at: now + 4 })], now), { put: [], blocked: [] });
  t.equal(list.reasonOf(digest("x")), undefined);
  t.equal(list.isEmpty, true);
  t.match(list.take([command("x", { at: now + 6, reason: "again" })], now), { blocked: [digest("x")] });
  t.equal(list.reasonOf(digest("x")), "again");
  t.match(
    list.take([command("x", { at: now + 6, blocked: false })], now),
    { put: [] },
    "of both at once the block",
  );
  t.equal(list.size, 1);
  t.end();
});

t.test("parts are those that any node knows, whatever was commanded when", (t) => {
  const list = new BlockList();
  const [one, two] = [digest("one"), digest("two")];
  list.take([command("x", { parts: [one] })], now);
  t.match(list.take([command("x", { parts: [two] })], now).put, [{ parts: [one, two].sort() }]);
  t.same([...list.blocksWith(two)], [digest("x")]);
  list.take([command("x", { blocked: false, at: now + 1 })], now);
  t.same([...list.blocksWith(two)], [], "what is blocked no more has none");
  list.take([command("x", { at: now + 2 })], now);
  t.same([...list.blocksWith(one)], [digest("x")], "they are remembered");
  t.equal(list.take([command("x", { at: now + 2 })], now).put.length, 0);
  t.end();
});

t.test("the file's come beside those of commands", (t) => {
  const list = new BlockList();
  list.take([command("x"), command("y")], now);
  const changes = list.useFile(
    new Map([
      [digest("x"), "in the file"],
      [digest("z"), "in the file"],
    ]),
  );
  t.same(changes, { blocked: [digest("z")], unblocked: [] });
  t.equal(list.size, 3);
  t.equal(list.reasonOf(digest("x")), "bad");
  t.same(
    list.take([command("x", { blocked: false, at: now + 1 })], now).unblocked,
    [],
    "the file still has it",
  );
  t.equal(list.reasonOf(digest("x")), "in the file");
  t.match(
    list.listed().map(({ origin, reason }) => [origin, reason]),
    [
      ["command", "bad"],
      ["file", "in the file"],
      ["file", "in the file"],
    ],
  );
  t.same(list.useFile(new Map()).unblocked.toSorted(), [digest("x"), digest("z")].sort());
  t.equal(list.size, 1);
  t.end();
});

t.test("it is bounded, and what was unblocked long ago is forgotten", (t) => {
  const list = new BlockList();
  const many = Array.from({ length: maxBlocks + 3 }, (_, at) => command(`${at}`));
  t.equal(list.take(many, now).leftOut, 3);
  t.equal(list.size, maxBlocks);
  const ended = command("0", { blocked: false, at: now + 1 });
  list.take([ended], now);
  t.equal(list.ids().length, maxBlocks, "the end of it is kept");
  t.same(list.take([], now + 2 + forgetUnblocked).gone, [digest("0")]);
  t.equal(list.ids().length, maxBlocks - 1);
  t.match(list.take([ended], now + 2 + forgetUnblocked), { put: [] }, "nor is it heard again");
  t.end();
});

t.test("all parts together are bounded, too", (t) => {
  const list = new BlockList();
  const parts = Array.from({ length: maxPartsOfBlock + 7 }, (_, at) => digest(`part ${at}`));
  t.equal(partsOf(parts).length, maxPartsOfBlock);
  const full = maxPartsInAll / maxPartsOfBlock;
  const many = Array.from({ length: full + 2 }, (_, at) => command(`${at}`, { parts: partsOf(parts) }));
  const { put } = list.take(many, now);
  t.equal(
    put.reduce((sum, each) => sum + each.parts.length, 0),
    maxPartsInAll,
  );
  t.equal(list.size, full + 2, "they are blocked all the same");
  t.end();
});

t.test("ids tell which command of a digest is the greatest", (t) => {
  const first = command("x");
  const [later, more] = [command("x", { at: now + 1 }), command("x", { parts: [digest("part")] })];
  const other = command("y");
  t.same(
    keptBlockIds([first, more, later, other].map(blockId)).toSorted(),
    [later, other].map(blockId).sort(),
  );
  t.same(keptBlockIds([first, more].map(blockId)), [blockId(more)]);
  t.same(keptBlockIds(["", "x@1", `${digest("x")}@${now}`]), [], "what is no id is not kept");
  t.end();
});

t.test("commands are read as they were written, and nothing else is", (t) => {
  const sent = command("x", { parts: [digest("part")], reason: 'a "quoted" reason' });
  t.same(readBlock(writeBlock(sent)), sent);
  for (const text of [
    "",
    "{}",
    JSON.stringify({ ...sent, digest: "sha256:x" }),
    JSON.stringify({ ...sent, reason: "x".repeat(301) }),
    JSON.stringify({ ...sent, at: -1 }),
    JSON.stringify({ ...sent, parts: Array(501).fill(digest("part")) }),
    " ".repeat(100_000),
  ])
    t.equal(readBlock(text), undefined);
  t.end();
});
