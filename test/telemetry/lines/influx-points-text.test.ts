import fc from "fast-check";
import t from "tap";
import { stringField, tagValue } from "../../../src/telemetry/lines/influx-points.ts";
import { parseLine } from "../../fixtures/line-protocol.ts";

const text = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.string({
    unit: fc.constantFrom(",", "=", " ", '"', "\\", "\n", "\r", "\t", "a", "\ud83d", "\u2028", "é"),
  }),
);
const plain = (value: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what may not be in a line
  value.toWellFormed().replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, " ");

t.test("a tag's value is read back as it was, but for backslashes and control characters", async (t) => {
  fc.assert(
    fc.property(text, text, (one, two) => {
      const [a, b] = [tagValue(one), tagValue(two)];
      const line = `m${a === undefined ? "" : `,a=${a}`}${b === undefined ? "" : `,b=${b}`} f=1i 1700000000000000000`;
      const { tags, fields } = parseLine(line);
      const expected = (value: string) => (value === "" ? undefined : plain(value).replaceAll("\\", "_"));
      t.equal(tags.a, expected(one));
      t.equal(tags.b, expected(two));
      t.strictSame(fields, { f: 1n });
    }),
  );
  t.equal(tagValue(""), undefined, "no tag is empty");
  t.equal(tagValue("a, b=c\\"), "a\\,\\ b\\=c_");
  t.equal(tagValue("x".repeat(1000))?.length, 256);
});

t.test("a string is read back as it was, but for control characters", async (t) => {
  fc.assert(
    fc.property(text, text, (one, two) => {
      const { fields } = parseLine(`m f=${stringField(one)},g=${stringField(two)} 1700000000000000000`);
      t.strictSame(fields, { f: plain(one), g: plain(two) });
    }),
  );
  t.equal(stringField('say "a\\b"\n'), '"say \\"a\\\\b\\" "');
  t.equal(stringField("x".repeat(5000)).length, 1026);
});
