import t from "tap";
import { maxInBlockFile, parseBlockFile } from "../../src/gate/block-file.ts";
import { digestOf, randomBytesFor } from "../fixtures/images.ts";

const [one, two] = ["one", "two"].map((name) => digestOf(randomBytesFor(name, 8))) as unknown as [
  string,
  string,
];

t.test("a digest a line, with its reason; other lines are named", (t) => {
  t.same(
    parseBlockFile(`# a feed\n\n  ${one}   stolen key, see #7 \r\n${two}\n`),
    new Map([
      [one, "stolen key, see #7"],
      [two, "it is in the file of blocked digests"],
    ]),
  );
  t.same(parseBlockFile(""), new Map());
  t.match(parseBlockFile(`${one}\nlatest bad`), { problem: /^line 2: expected a digest/ });
  t.match(parseBlockFile(`\n${one.toUpperCase()}`), { problem: /^line 2: expected a digest/ });
  t.match(parseBlockFile(`${one} ${"x".repeat(301)}`), { problem: /^line 1: the reason is longer than 300/ });
  const many = Array.from(
    { length: maxInBlockFile + 1 },
    (_, at) => `sha256:${at.toString(16).padStart(64, "0")}`,
  );
  t.match(parseBlockFile(many.join("\n")), { problem: /more than 10000 digests/ });
  t.end();
});
