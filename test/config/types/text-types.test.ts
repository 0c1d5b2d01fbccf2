import t from "tap";
import { describeUrl, sizeOrNone, upstreamUrl } from "../../../src/config/types/text-types.ts";

t.test("a URL is kept with its path, without the slash at its end", async (t) => {
  for (const [text, href] of [
    ["https://registry.example.com", "https://registry.example.com/"],
    ["https://registry.example.com/", "https://registry.example.com/"],
    ["http://localhost:5000", "http://localhost:5000/"],
    ["HTTPS://Registry.Example.com:8443/a/b/", "https://registry.example.com:8443/a/b"],
    [
      "https://artifactory.example.com/artifactory/api/docker/team",
      "https://artifactory.example.com/artifactory/api/docker/team",
    ],
    ["https://registry.example.com/v2/team", "https://registry.example.com/v2/team"],
    ["https://[::1]:5000/x//", "https://[::1]:5000/x"],
  ] as const) {
    t.equal(upstreamUrl.parse(text).href, href, text);
  }
});

t.test("what is refused, and why", async (t) => {
  for (const [text, expected] of [
    ["registry.example.com", /with its scheme/],
    ["registry.example.com:5000", /with its scheme/],
    ["ftp://registry.example.com", /with its scheme/],
    ["https://", /with its scheme/],
    ["https://registry example.com", /with its scheme/],
    ["https://registry.example.com\\@evil.example.com", /with its scheme/],
    ["https://u:p@registry.example.com", /in username and password/],
    ["https://u:/p@registry.example.com", /in username and password/],
    ["https://u@registry.example.com", /in username and password/],
    ["https://registry.example.com/?a=1", /without a query/],
    ["https://registry.example.com/?", /without a query/],
    ["https://registry.example.com/#x", /fragment/],
    ["https://registry.example.com/v2", /without \/v2/],
    ["https://registry.example.com/v2/", /without \/v2/],
    ["https://registry.example.com/team/v2//", /without \/v2/],
  ] as const) {
    t.match(upstreamUrl.safeParse(text).error?.issues[0]?.message, expected, text);
  }
});

t.test("a URL in a message holds nothing that may be secret", async (t) => {
  t.equal(describeUrl("https://h.example.com:5000/v2"), '"https://h.example.com:5000/v2"');
  t.equal(describeUrl("h.example.com:5000"), '"h.example.com:5000"');
  for (const text of [
    "https://u:hunter2@h.example.com",
    "https://hunter2@h.example.com",
    "https://u:hunter2",
    "u:hunter2@h.example.com",
    "https://h.example.com/?token=hunter2",
    "https://h.example.com/#hunter2",
  ]) {
    t.notMatch(describeUrl(text), /hunter2/, text);
  }
});

t.test("a size that may be none", async (t) => {
  for (const [text, bytes] of [
    ["0", 0],
    ["0MB", 0],
    ["1MB", 1_000_000],
    ["16 MiB", 16 * 1024 * 1024],
  ] as const)
    t.equal(sizeOrNone.parse(text), bytes, text);
  for (const text of ["", "1", "10kB", "-1MB", "none"])
    t.match(sizeOrNone.safeParse(text).error?.issues[0]?.message, /, or 0 for none$/, text);
});
