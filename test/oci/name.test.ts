import fc from "fast-check";
import t from "tap";
import { parseRepository, parseTag } from "../../src/oci/name.ts";
import { cpuTime } from "../fixtures/cpu-time.ts";

t.test("repository names of the spec", async (t) => {
  const names = [
    "a",
    "0",
    "app",
    "library/alpine",
    "a.b/c_d/e__f/g-h/i---j/k",
    "docker.io/library/app",
    "manifests",
    "blobs/uploads",
    "tags/list",
    "v2",
    "v2/v2",
    `${"a/".repeat(127)}a`,
  ];
  for (const name of names) t.equal(parseRepository(name), name, name);
});

t.test("other names are refused", async (t) => {
  const names = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/../b",
    "a/./b",
    "a..b",
    "a.-b",
    "a___b",
    "a_-b",
    "-a",
    "a-",
    ".a",
    "a.",
    "_a",
    "a_",
    "_catalog",
    "A",
    "Library/alpine",
    "a b",
    "a\nb",
    "a\n",
    "a\0b",
    "a%2fb",
    "a\\b",
    "a:b",
    "a@b",
    "a;b",
    "a?b",
    "a#b",
    "é",
    "ａ",
  ];
  for (const name of names) t.equal(parseRepository(name), undefined, JSON.stringify(name));
});

t.test("a repository has at most 255 characters", async (t) => {
  t.equal(parseRepository("a".repeat(255)), "a".repeat(255));
  t.equal(parseRepository("a".repeat(256)), undefined);
  t.equal(parseRepository(`${"a".repeat(254)}/b`), undefined);
});

t.test("tags of the spec, at most 128 characters", async (t) => {
  for (const tag of ["a", "A", "_", "0", "latest", "v1.2-rc_3", "sha256-abc.sig", "_.-", "a".repeat(128)]) {
    t.equal(parseTag(tag), tag);
  }
  const wrong = ["", ".", "..", ".a", "-a", "a:b", "a/b", "a b", "a\n", "\na", "a%", "é", "a".repeat(129)];
  for (const tag of wrong) t.equal(parseTag(tag), undefined, JSON.stringify(tag));
});

const lower = "abcdefghijklmnopqrstuvwxyz";
const digits = "0123456789";

/** The characters up to U+024F that `accepts` takes, in order. */
function alphabet(accepts: (character: string) => boolean): string {
  const all = Array.from({ length: 0x250 }, (_, code) => String.fromCharCode(code));
  return all.filter(accepts).join("");
}

t.test("the alphabets, character by character", async (t) => {
  const repository = (text: string): boolean => parseRepository(text) !== undefined;
  const tag = (text: string): boolean => parseTag(text) !== undefined;
  const upper = lower.toUpperCase();
  for (const around of ["", "a-", "a/", "a/b."]) {
    t.equal(
      alphabet((c) => repository(around + c)),
      digits + lower,
    );
  }
  t.equal(
    alphabet((c) => repository(`a${c}b`)),
    `-./${digits}_${lower}`,
  );
  t.equal(
    alphabet((c) => repository(`a/b${c}c`)),
    `-./${digits}_${lower}`,
  );
  t.equal(
    alphabet((c) => repository(`a${c}${c}b`)),
    `-${digits}_${lower}`,
  );
  t.equal(
    alphabet((c) => tag(c)),
    `${digits}${upper}_${lower}`,
  );
  t.equal(
    alphabet((c) => tag(`a${c}`)),
    `-.${digits}${upper}_${lower}`,
  );
});

t.test("what is accepted is made of components that are no path tricks", async () => {
  const almost = fc.string({ unit: fc.constantFrom(..."ab0._-/"), maxLength: 24 });
  fc.assert(
    fc.property(almost, (text) => {
      const name = parseRepository(text);
      return (
        name === undefined || name.split("/").every((part) => /^[a-z0-9].*[a-z0-9]$|^[a-z0-9]$/.test(part))
      );
    }),
  );
});

t.test("hostile names take no time", async (t) => {
  const attacks = [
    "a-".repeat(127),
    "-".repeat(255),
    "a/".repeat(127),
    `${"a".repeat(254)}!`,
    "a_".repeat(127),
  ];
  const spent = cpuTime(() => {
    for (const attack of attacks) {
      t.equal(parseRepository(attack), undefined);
      t.equal(parseTag(attack.repeat(20)), undefined);
    }
  });
  t.ok(spent < 1000, `${spent} ms`);
});
