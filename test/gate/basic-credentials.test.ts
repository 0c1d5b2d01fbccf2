import fc from "fast-check";
import t from "tap";
import { basicToken, readBasic } from "../../src/gate/basic-credentials.ts";

const encode = (text: string | Buffer): string => Buffer.from(text as string).toString("base64");

t.test("name and password come back as they were sent, whatever is in them", async () => {
  const name = fc
    .string({ minLength: 1, maxLength: 50, unit: "grapheme" })
    .filter((text) => /^[^\p{Cc}:]+$/u.test(text));
  const password = fc.string({ maxLength: 80, unit: "grapheme" }).filter((text) => /^\P{Cc}*$/u.test(text));
  fc.assert(
    fc.property(name, password, fc.constantFrom("Basic ", "basic  ", "BASIC "), (name, password, scheme) => {
      const token = basicToken(`${scheme}${encode(`${name}:${password}`)}`);
      const read = token === undefined ? undefined : readBasic(token);
      return read?.name === name && read.password.toString() === password;
    }),
  );
});

t.test("what is no credentials of this scheme is nobody's", async (t) => {
  for (const header of [
    undefined,
    "",
    "Basic",
    "Basic ",
    "Bearer abc",
    `Basic ${encode("a:b")}, Basic ${encode("c:d")}`,
    `Basic\t${encode("a:b")}`,
    `NotBasic ${encode("a:b")}`,
    `Basic ${"A".repeat(9_000)}`,
  ])
    t.equal(basicToken(header), undefined, String(header).slice(0, 40));
  for (const text of ["", "name", ":password", "a\0b:c", "a:b\nc", "a:\x7f", `${"n".repeat(256)}:x`])
    t.equal(readBasic(encode(text)), undefined, JSON.stringify(text.slice(0, 20)));
  t.match(readBasic(encode("a:b:c")), { name: "a", password: Buffer.from("b:c") }, "the first colon counts");
});

t.test("no header breaks it", async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.base64String().map((text) => `Basic ${text}`),
      ),
      (header) => {
        const token = basicToken(header);
        const read = token === undefined ? undefined : readBasic(token);
        return read === undefined || (read.name.length > 0 && !read.name.includes(":"));
      },
    ),
  );
});
